package main

type policyCmd struct {
	Test    policyTestCmd    `cmd:"" help:"Run the tests of the policy file."`
	Explain policyExplainCmd `cmd:"" help:"Say what would happen to a request, and why."`

	Apply    policyApplyCmd    `cmd:"" help:"Bring a policy into force in the running proxy."`
	Rollback policyRollbackCmd `cmd:"" help:"Bring a policy into force again that once was."`
	Except   policyExceptCmd   `cmd:"" help:"Suspend rules for one person, until a day."`
	History  policyHistoryCmd  `cmd:"" help:"List the policies that were in force, and those that were refused."`
	Show     policyShowCmd     `cmd:"" help:"Print a policy that was in force."`
	Diff     policyDiffCmd     `cmd:"" help:"Compare policies by rules, tests, invariants and settings: what is in force, what was, and files."`

	Lint     policyLintCmd     `cmd:"" help:"Say what is suspicious about the policy, though it is not wrong."`
	Fmt      policyFmtCmd      `cmd:"" help:"Put policy files into their canonical layout."`
	Schema   policySchemaCmd   `cmd:"" help:"Print the JSON Schema of policy files, for editors."`
	Prove    policyProveCmd    `cmd:"" help:"Prove the invariants of the policy file, or show a request that breaks them."`
	Replay   policyReplayCmd   `cmd:"" help:"Judge recorded decisions again with a candidate, and count what would change."`
	Simulate policySimulateCmd `cmd:"" help:"Simulate a company's year under the policy: how often it asks and blocks, rightly and wrongly."`
}
