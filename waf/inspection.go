package waf

import (
	"net/http"

	"gatehouse/waf/gate"
	"gatehouse/waf/rx"
)

// defaultWork is how much work a request may be, in units of rx.Meter of some nanoseconds each.
const defaultWork = 10_000_000

// begin begins the gate's part of an inspection; it is nil if every rule is to run.
func (e *Engine) begin(tx transaction) *inspection {
	if e.gate == nil {
		return nil
	}
	m := rx.NewMeter(defaultWork)
	in := &inspection{tx: tx, gate: e.gate, judgement: e.gate.Begin(m), meter: m}
	e.root.requests.Store(tx, in)
	return in
}

// end ends it. A request whose inspection was more work than is allowed is refused.
func (e *Engine) end(in *inspection, v *verdict) {
	if in == nil {
		return
	}
	e.root.requests.Delete(in.tx)
	in.judgement.End()
	if in.meter.Exhausted() {
		v.location, v.drop = "", false
		v.err = tooMuchWork()
	}
}

// quiet judges a request before any rule runs, and reports that none of them can do anything, so that the
// engine need not be asked. Without a body both phases can be judged by the head.
func (in *inspection) quiet(hasBody bool) bool {
	return in != nil && !in.judge(1) && !hasBody && !in.judge(2)
}

// An inspection is the gate's side of one request's transaction.
type inspection struct {
	tx        transaction
	gate      *gate.Gate
	judgement *gate.Judgement
	meter     *rx.Meter
	judged    [3]bool
	preset    bool
}

// judge says whether a rule of the phase may do something, by what tx knows now.
func (in *inspection) judge(phase int) bool {
	in.judged[phase] = true
	return in.judgement.Phase(phase, in.tx)
}

// tooMuchWork is the refusal of a request that takes the rules too long.
func tooMuchWork() *Failure {
	return &Failure{Reason: "the request takes more work to inspect than is allowed", Status: http.StatusRequestEntityTooLarge}
}

// enter prepares the transaction for the rules of a phase: those that can do nothing are left out. It
// reports that the phase is to be skipped.
func (in *inspection) enter(phase int) (skip bool) {
	if !in.judged[phase] {
		in.judge(phase)
	}
	if phase == 1 && in.judgement.Idle(1) {
		return true
	}
	if !in.preset && (phase == 1 || !in.judgement.Silent()) {
		in.preset = true
		in.gate.Preset(in.tx.Variables().TX())
	}
	in.judgement.Remove(phase, in.tx)
	return false
}
