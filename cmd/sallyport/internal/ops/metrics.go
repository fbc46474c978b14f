package ops

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/policy/behavior"
	"sallyport/proxy/streams"
)

var (
	descSourceAge      = prometheus.NewDesc("sallyport_ip_source_age_seconds", "Time since the IP source was built.", []string{"source"}, nil)
	descSourceFailures = prometheus.NewDesc("sallyport_ip_source_failed_loads", "Loads of the IP source refused since the last one that was not.", []string{"source"}, nil)
	descSourceLoaded   = prometheus.NewDesc("sallyport_ip_source_loaded", "1 if the IP source is loaded.", []string{"source"}, nil)
	descSourceNetworks = prometheus.NewDesc("sallyport_ip_source_networks", "Networks in the IP source.", []string{"source"}, nil)
	descSwaps          = prometheus.NewDesc("sallyport_ip_data_swaps_total", "Times that new IP data came into use.", nil, nil)
	descLookupFaults   = prometheus.NewDesc("sallyport_ip_lookup_faults_total", "Answers lost to IP data that could not be read at an address.", nil, nil)
	descDataRefused    = prometheus.NewDesc("sallyport_ip_data_refused", "1 if the newest content of the IP source was refused, for the people it would lock out or as unlike what was there; the source keeps what it had.", []string{"source"}, nil)
	descDataChanges    = prometheus.NewDesc("sallyport_ip_data_changes_total", "Changes of IP data that the guard against lock-outs judged.", []string{"outcome"}, nil)
	descReloads        = prometheus.NewDesc("sallyport_config_reloads_total", "Reloads of the configuration since the start.", []string{"outcome"}, nil)
	descReloaded       = prometheus.NewDesc("sallyport_config_reloaded", "0 if the last reload was refused and what ran before goes on.", nil, nil)
	descSessions       = prometheus.NewDesc("sallyport_sessions", "Sessions that are alive; missing while the store does not answer.", nil, nil)
	descPolicyRefused  = prometheus.NewDesc("sallyport_policy_reload_refused", "Whether (1) the policy file was refused, so that the policy before it stays in force.", nil, nil)
	descPolicyLastGood = prometheus.NewDesc("sallyport_policy_last_good", "Whether (1) the policy file was refused at the start, so that the last policy that was in force runs.", nil, nil)
	descExceptions     = prometheus.NewDesc("sallyport_policy_exceptions_refused", "Whether (1) what the file of exceptions holds was refused, so that the exceptions before it, or none since the start, are in force.", nil, nil)
	descPolicies       = prometheus.NewDesc("sallyport_policy_changes_total", "Policy changes requested since the start.", []string{"outcome"}, nil)
	descRejudged       = prometheus.NewDesc("sallyport_sessions_rejudged", "Live sessions that the last change of policy or IP data judged again, by what it changed.", []string{"change"}, nil)
	descStreams        = prometheus.NewDesc("sallyport_open_streams", "Open streams, by kind.", []string{"kind"}, nil)
	descShedRequests   = prometheus.NewDesc("sallyport_requests_in_flight", "Requests that are being handled.", nil, nil)
	descShed           = prometheus.NewDesc("sallyport_shed_total", "Requests answered 503 because there were too many.", nil, nil)
	descInspected      = prometheus.NewDesc("sallyport_inspected_bytes", "Bytes that are held of messages to JSON-RPC routes.", nil, nil)
	descInspectedFull  = prometheus.NewDesc("sallyport_inspected_refused_total", "Messages that were refused because too much of others was held.", nil, nil)
	descMemoryShort    = prometheus.NewDesc("sallyport_memory_short", "1 while memory is so short that strangers get 503.", nil, nil)
	descUpstreamUp     = prometheus.NewDesc("sallyport_upstream_healthy", "1 if the upstream would be given requests now.", []string{"route", "upstream"}, nil)
	descAuditRecords   = prometheus.NewDesc("sallyport_audit_records_total", "Records in the audit log.", nil, nil)
	descLogLost        = prometheus.NewDesc("sallyport_log_lines_lost_total", "Lines of the log that were dropped because standard error was not read or could not be written.", nil, nil)
	descHealthy        = prometheus.NewDesc("sallyport_healthy", "1 if the part works.", []string{"part"}, nil)
)

func (*ops) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descSourceAge, descSourceFailures, descSourceLoaded, descSourceNetworks, descSwaps, descLookupFaults, descDataRefused, descDataChanges, descSessions, descStreams, descShedRequests, descShed, descInspected, descInspectedFull, descMemoryShort, descUpstreamUp, descReloads, descReloaded, descPolicyRefused, descPolicyLastGood, descExceptions, descPolicies, descRejudged, descAuditRecords, descLogLost, descHealthy,
		descHistoryKept, descHistoryWaiting, descHistoryDropped, descHistoryErrors} {
		out <- d
	}
}

func (o *ops) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	up := func(ok bool) float64 {
		if ok {
			return 1
		}
		return 0
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	now := time.Now()
	for _, s := range o.Intel.Current().Sources() {
		gauge(descSourceLoaded, up(!s.Missing), s.Name)
		if !s.Missing {
			gauge(descSourceAge, now.Sub(s.Built).Seconds(), s.Name)
		}
		gauge(descSourceNetworks, float64(s.Networks), s.Name)
		gauge(descSourceFailures, float64(s.Failures), s.Name)
		gauge(descDataRefused, up(s.Refused), s.Name)
	}
	dataApplied, dataRefused := o.Data.Stats()
	counter(descDataChanges, float64(dataApplied), "applied")
	counter(descDataChanges, float64(dataRefused), "refused")
	stats := o.Intel.Stats()
	counter(descSwaps, float64(stats.Swaps))
	counter(descLookupFaults, float64(stats.LookupFaults))
	applied, refused, lastRefused := o.Reloads.Stats()
	counter(descReloads, float64(applied), "applied")
	counter(descReloads, float64(refused), "refused")
	gauge(descReloaded, up(!lastRefused))
	if n, err := o.countSessions(context.Background()); err == nil {
		gauge(descSessions, float64(n))
	}
	changes := o.Policies.Stats()
	gauge(descPolicyRefused, up(changes.Pending))
	gauge(descPolicyLastGood, up(changes.LastGood))
	gauge(descExceptions, up(changes.Exceptions))
	counter(descPolicies, float64(changes.Applied), "applied")
	counter(descPolicies, float64(changes.Refused), "refused")
	if t := o.Gate.Reviewed(); t != nil {
		for change, n := range map[string]int64{"none": t.Judged - t.Changed(), "newly_blocked": t.Blocked, "newly_stepped_up": t.SteppedUp, "newly_allowed": t.Allowed} {
			gauge(descRejudged, float64(n), change)
		}
	}
	for _, k := range []streams.Kind{streams.Download, streams.WebSocket, streams.EventStream, streams.GRPC, streams.Upgrade} {
		gauge(descStreams, float64(o.Streams.Count(k)), k.String())
	}
	shed := o.Shed.Stats()
	gauge(descShedRequests, float64(shed.Requests))
	counter(descShed, float64(shed.ShedFull+shed.ShedMemory))
	gauge(descMemoryShort, up(shed.MemoryFull))
	gauge(descInspected, float64(o.Streams.Inspected().Used()))
	counter(descInspectedFull, float64(o.Streams.Inspected().Refused()))
	for _, r := range o.Upstreams.State(o.Gate.Current().Routes) {
		for _, u := range r.Upstreams {
			gauge(descUpstreamUp, up(u.Healthy), r.Route, u.URL)
		}
	}
	counter(descAuditRecords, float64(o.Audit.Size()))
	if o.Lines != nil {
		counter(descLogLost, float64(o.Lines.Lost()))
	}
	collectHistory(o.History.Stats(), gauge, counter)
	gauge(descHealthy, up(o.History.HistoryKnown()), "history")
	gauge(descHealthy, up(o.pingStore(context.Background()) == nil), "store")
	gauge(descHealthy, up(o.Audit.Health() == nil), "audit")
	gauge(descHealthy, up(o.logHealth() == nil), "log")
	gauge(descHealthy, up(o.Provider.Ready() == nil), "openid_provider")
}

var (
	descHistoryKept    = prometheus.NewDesc("sallyport_history_entries", "People, addresses and devices whose history is in memory.", []string{"kind"}, nil)
	descHistoryWaiting = prometheus.NewDesc("sallyport_history_waiting", "Sightings that wait to be written.", nil, nil)
	descHistoryDropped = prometheus.NewDesc("sallyport_history_dropped_total", "Sightings for which the queue had no room: merged with a like one, or lost.", []string{"outcome"}, nil)
	descHistoryErrors  = prometheus.NewDesc("sallyport_history_errors_total", "Times that history could not be read or written.", []string{"operation"}, nil)
)

// collectHistory reports the size of people's history.
func collectHistory(s behavior.Stats, gauge, counter func(d *prometheus.Desc, v float64, labels ...string)) {
	gauge(descHistoryKept, float64(s.People), "people")
	gauge(descHistoryKept, float64(s.Addresses), "addresses")
	gauge(descHistoryKept, float64(s.Devices), "devices")
	gauge(descHistoryWaiting, float64(s.Waiting))
	counter(descHistoryDropped, float64(s.Merged), "merged")
	counter(descHistoryDropped, float64(s.Lost), "lost")
	counter(descHistoryErrors, float64(s.ReadErrors), "read")
	counter(descHistoryErrors, float64(s.WriteErrors), "write")
}
