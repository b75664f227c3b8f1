// Package alertstest sees every alert of deploy/prometheus fire, and stay silent
// when all is well, in Prometheus's own engine, and has its parser read the expressions of the
// dashboard. It is run by hand, after a change of either:
//
//	cd deploy/alertstest && go test ./...
//
// That the metrics and labels which they name are those of the program is tested in cmd/legato.
package alertstest
