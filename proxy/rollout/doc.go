// Package rollout brings a new policy, IP data and configuration into force while the
// product runs.
//
// [Manager.Apply] is the one way. Its order:
//
//  1. compile: the policy's tests have to pass, and its invariants to be proven. A policy
//     in shadow that is wrong is logged, and the one before stays beside the new policy;
//     It must have been made from the policy in force, if it says from which ([Stale]);
//  2. guard: judge the live sessions and the recorded decisions of the last days by the
//     candidate, and refuse it if it locks out, or lets in, too many people ([Guard]);
//  3. prepare the other parts of the change, such as certificates;
//  4. record: in the audit log and among the versions of the store;
//  5. swap the gate's snapshot, which judges open streams and live sessions again.
//
// If a step fails, the snapshot in force stays, and the refusal of another policy is
// recorded. Files that were refused at step 1 or 2 are not tried again before they change;
// those that failed at step 3 or 4, for a certificate or the audit log, are. One change at
// a time: the file watcher ([Manager.ReloadFiles]), SIGHUP and commands
// ([Manager.AnswerRequest]) wait for each other, and so does IP data ([Data]).
//
// Commands have no connection to the process that serves. They leave a request in the
// store, which the process takes, judges and answers.
//
// A start takes the files as they are, as there is nothing else to run on. It is
// recorded, and says so if the guard had refused them ([Manager.Start], [Data.Start]).
package rollout
