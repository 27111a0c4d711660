package waf

import (
	"errors"
	"math"

	"gatehouse/waf/gate"
	"gatehouse/waf/rx"
)

// begin begins the gate's part of an inspection; it is nil if every rule is to run.
func (e *Engine) begin(tx transaction) *inspection {
	if e.gate == nil {
		return nil
	}
	m := rx.NewMeter(e.bounds.work)
	in := &inspection{tx: tx, gate: e.gate, judgement: e.gate.Begin(m), meter: m}
	e.root.requests.Store(tx, in)
	return in
}

// end ends it. A request whose inspection was more work than is allowed is refused.
func (e *Engine) end(in *inspection, v *verdict) {
	if in == nil {
		return
	}
	in.judgement.End()
	v.work = e.bounds.work - in.meter.Left()
	if in.meter.Exhausted() {
		e.over(tooMuchWork(), v)
	}
}

// over is for a request that goes over a limit of its own: a refusal, or, counting, the record of one.
func (e *Engine) over(l *Limited, v *verdict) {
	v.location, v.drop = "", false
	v.result.Limit, v.result.Status = l.Limit, l.Status
	if e.mode != ModeCount {
		v.err = l
	}
}

// cannot is for a request that cannot be inspected.
func (e *Engine) cannot(err error, v *verdict) {
	if limited, ok := errors.AsType[*Limited](err); ok && limited.Limit != LimitBody {
		e.over(limited, v)
		return
	}
	v.err = err
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
	stopped   bool
}

// judge says whether a rule of the phase may do something, by what tx knows now.
func (in *inspection) judge(phase int) bool {
	in.judged[phase] = true
	return in.judgement.Phase(phase, in.tx)
}

// enter prepares the transaction for the rules of a phase: those that can do nothing are left out. It
// reports that the phase is to be skipped.
func (in *inspection) enter(phase int) (skip bool) {
	if !in.judged[phase] {
		in.judge(phase)
	}
	if in.meter.Exhausted() {
		in.stop()
		return true
	}
	if phase == 1 && in.judgement.Idle(1) {
		return true
	}
	if !in.preset && (phase == 1 || !in.judgement.Silent()) {
		in.preset = true
		in.gate.Preset(in.tx.Variables().TX())
	}
	in.judgement.Remove(phase, in.tx)
	if !in.meter.Exhausted() {
		in.judgement.Charge(phase, in.tx)
	}
	if in.meter.Exhausted() {
		in.stop()
		return true
	}
	return false
}

// exhausted reports that the request has taken more work than is allowed.
func (in *inspection) exhausted() bool { return in != nil && in.meter.Exhausted() }

// stop has the engine run no rule any more: the request cannot be afforded.
func (in *inspection) stop() {
	if !in.stopped {
		in.stopped = true
		in.tx.RemoveRuleByIDRange(1, math.MaxInt)
	}
}
