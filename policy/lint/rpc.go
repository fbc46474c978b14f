package lint

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"sallyport/policy/internal/expr"
	"sallyport/policy/prove"
)

// rpcMethods are methods that nodes have, as they spell them: Ethereum and Geth, Bitcoin,
// Solana, CometBFT. A node may have others, and a name that is not here is no finding; one
// that differs from one here in nothing but case is.
var rpcMethods = strings.Fields(`
web3_clientVersion web3_sha3 net_version net_listening net_peerCount rpc_modules
eth_accounts eth_blobBaseFee eth_blockNumber eth_call eth_chainId eth_coinbase eth_createAccessList eth_estimateGas eth_feeHistory eth_fillTransaction
eth_gasPrice eth_getBalance eth_getBlockByHash eth_getBlockByNumber eth_getBlockReceipts eth_getBlockTransactionCountByHash
eth_getBlockTransactionCountByNumber eth_getCode eth_getFilterChanges eth_getFilterLogs eth_getLogs eth_getProof eth_getStorageAt
eth_getTransactionByBlockHashAndIndex eth_getTransactionByBlockNumberAndIndex eth_getTransactionByHash eth_getTransactionCount
eth_getTransactionReceipt eth_getUncleCountByBlockHash eth_getUncleCountByBlockNumber eth_maxPriorityFeePerGas eth_newBlockFilter
eth_newFilter eth_newPendingTransactionFilter eth_pendingTransactions eth_protocolVersion eth_resend eth_sendRawTransaction
eth_sendRawTransactionConditional eth_sendRawTransactionSync eth_sendBundle eth_sendPrivateTransaction eth_sendTransaction eth_sendUserOperation
eth_sign eth_signTransaction eth_signTypedData eth_signTypedData_v3 eth_signTypedData_v4 eth_simulateV1 eth_subscribe eth_syncing eth_uninstallFilter eth_unsubscribe
personal_ecRecover personal_importRawKey personal_listAccounts personal_listWallets personal_lockAccount personal_newAccount personal_openWallet
personal_sendTransaction personal_sign personal_signTransaction personal_unlockAccount
admin_addPeer admin_addTrustedPeer admin_datadir admin_exportChain admin_importChain admin_nodeInfo admin_peers admin_removePeer
admin_removeTrustedPeer admin_startHTTP admin_startRPC admin_startWS admin_stopHTTP admin_stopRPC admin_stopWS
debug_getBadBlocks debug_getRawBlock debug_getRawHeader debug_getRawReceipts debug_getRawTransaction debug_setHead debug_storageRangeAt
debug_traceBlock debug_traceBlockByHash debug_traceBlockByNumber debug_traceCall debug_traceTransaction
miner_setEtherbase miner_setExtra miner_setGasLimit miner_setGasPrice miner_start miner_stop clique_propose clique_discard
txpool_content txpool_contentFrom txpool_inspect txpool_status trace_block trace_call trace_filter trace_get trace_rawTransaction
trace_replayBlockTransactions trace_replayTransaction trace_transaction
engine_exchangeCapabilities engine_forkchoiceUpdatedV3 engine_getPayloadV4 engine_newPayloadV4
account_signData account_signTransaction account_signTypedData
wallet_addEthereumChain wallet_switchEthereumChain evm_increaseTime evm_mine evm_revert evm_snapshot hardhat_impersonateAccount hardhat_setBalance
abandontransaction addnode backupwallet bumpfee combinepsbt createmultisig createrawtransaction createwallet decoderawtransaction
dumpprivkey dumpwallet encryptwallet estimatesmartfee finalizepsbt fundrawtransaction generateblock generatetoaddress getaddressinfo getbalance
getbestblockhash getblock getblockchaininfo getblockcount getblockhash getblockheader getblocktemplate getconnectioncount getmempoolinfo
getmininginfo getnetworkinfo getnewaddress getpeerinfo getrawchangeaddress getrawmempool getrawtransaction gettransaction gettxout getwalletinfo
importaddress importdescriptors importprivkey importwallet invalidateblock keypoolrefill listdescriptors listtransactions listunspent loadwallet
lockunspent prioritisetransaction rescanblockchain restorewallet send sendall sendmany sendrawtransaction sendtoaddress setban
sethdseed settxfee signmessage signmessagewithprivkey signrawtransactionwithkey signrawtransactionwithwallet stop submitblock submitpackage
testmempoolaccept unloadwallet validateaddress verifymessage walletcreatefundedpsbt walletlock walletpassphrase walletpassphrasechange walletprocesspsbt
getAccountInfo getBalance getBlock getBlockHeight getFeeForMessage getLatestBlockhash getMultipleAccounts getProgramAccounts
getSignatureStatuses getSignaturesForAddress getTokenAccountsByOwner getTransaction isBlockhashValid requestAirdrop sendTransaction simulateTransaction
accountSubscribe logsSubscribe programSubscribe signatureSubscribe slotSubscribe
abci_info abci_query broadcast_evidence broadcast_tx_async broadcast_tx_commit broadcast_tx_sync check_tx consensus_state dial_peers dial_seeds
dump_consensus_state num_unconfirmed_txs unconfirmed_txs unsafe_flush_mempool
`)

// rpc finds rules about JSON-RPC methods that are asked where there are none, and methods
// in another case than nodes use.
func (l *linter) rpc() {
	l.rpcRoutes()
	for _, c := range l.constants("request.rpc_methods") {
		if c.Lower || c.How != expr.Equal && c.How != expr.Method {
			continue
		}
		wrong, instead := c.otherCase()
		if !wrong {
			continue
		}
		l.compared(c, instead, Finding{Code: "rpc-method", Severity: Warning, Fix: "the method as the node spells it",
			Message: fmt.Sprintf("no node has a method that %s %q in this case: a call of the method itself does not match", c.Asks(), c.value.Text)})
	}
}

// otherCase reports whether a comparison holds for no known method but would in another
// case, and in which.
func (c *constant) otherCase() (wrong bool, instead string) {
	if c.Method == "matches" {
		as, err := regexp.Compile(c.value.Text)
		if err != nil || slices.ContainsFunc(rpcMethods, as.MatchString) {
			return false, ""
		}
		in, err := regexp.Compile("(?i)" + c.value.Text)
		return err == nil && slices.ContainsFunc(rpcMethods, in.MatchString), ""
	}
	if c.value.Text == "" || slices.ContainsFunc(rpcMethods, c.fits) {
		return false, ""
	}
	folded := *c
	folded.value.Text = strings.ToLower(c.value.Text)
	for _, m := range rpcMethods {
		lower := strings.ToLower(m)
		if !folded.fits(lower) {
			continue
		}
		at := strings.Index(lower, folded.value.Text)
		if c.Method == "endsWith" {
			at = len(m) - len(folded.value.Text)
		}
		return true, m[at : at+len(folded.value.Text)]
	}
	return false, ""
}

// rpcRoutes finds rules that match only where there are JSON-RPC methods, on routes that
// have none.
func (l *linter) rpcRoutes() {
	const fact = "request.rpc_methods"
	var with []string
	for _, name := range slices.Sorted(maps.Keys(l.config.Routes)) {
		if l.config.Routes[name].RPC {
			with = append(with, name)
		}
	}
	if len(with) == 0 { // not known, or there is no source of the fact at all
		return
	}
	for _, need := range prove.Needs(l.policy, fact, with) {
		r, f := l.rules[need.Rule], Finding{Code: "rpc-route", Severity: Warning, Fix: "routes: [" + strings.Join(with, ", ") + "]"}
		without := slices.DeleteFunc(slices.Clone(r.Routes), func(name string) bool { return slices.Contains(with, name) })
		switch {
		case len(without) > 0:
			f.Message = fmt.Sprintf("%s matches only calls of JSON-RPC methods, and is for %s, without `rpc` in sallyport.yaml: there it never matches", r.Name, shorten(without))
			f.Fix += "; or rpc: jsonrpc for the route, if its tool takes such calls"
		case !need.Reaches:
			f.Message = fmt.Sprintf("%s matches only calls of JSON-RPC methods, and on no route with `rpc` in sallyport.yaml: it never matches", r.Name)
			f.Fix = "a condition on the route that holds on " + shorten(with)
		default:
			continue
		}
		source := l.document.Rules[need.Rule].When
		l.in(need.Rule, source, 0, f)
	}
}
