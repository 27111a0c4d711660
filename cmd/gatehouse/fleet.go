package main

import (
	"gatehouse/authn"
	"gatehouse/configs"
	"gatehouse/internal/fleet"
)

// openFleet puts the store that several instances share behind the ledger, where the file has one.
func (p *process) openFleet(cfg *configs.Config, kept *parts) error {
	if cfg.Fleet == nil {
		return nil
	}
	store, err := fleet.Open(*cfg.Fleet, fleet.Options{
		Ledger: p.ledger, OnState: p.observer.fleet, OnEvent: p.observer.fleetEvent, OnError: p.observer.revocationLost,
	})
	if err != nil {
		p.closeLedger()
		p.ledger, kept.ledger = nil, nil
		return configs.Problems{cfg.Problem("fleet", err.Error())}
	}
	p.fleet, kept.ledger, kept.shared = store, store, store
	return nil
}

// joinFleet begins to listen to the other instances, to what they revoke once somebody can sign in here.
func (p *process) joinFleet() {
	if p.fleet == nil {
		return
	}
	var learn func(...authn.Revocation)
	if sessions := p.current.parts.sessions; sessions != nil {
		learn = sessions.Learn
	}
	p.fleet.Start(learn)
}

// shareKeys lets the keys of a generation be those of the fleet, before it signs with them.
func (p *process) shareKeys(next *assembled) {
	switch {
	case p.fleet == nil:
	case next.sharedKeys == nil:
		p.fleet.ShareKeys(nil)
	default:
		p.fleet.ShareKeys(next.sharedKeys)
	}
}

// unchangedFleet reports what only a restart can change.
func unchangedFleet(old, new *configs.Config) (problems configs.Problems) {
	was, is := fleet.Config{}, fleet.Config{}
	if old.Fleet != nil {
		was = *old.Fleet
	}
	if new.Fleet != nil {
		is = *new.Fleet
	}
	if was != is {
		problems = append(problems, new.Problem("fleet", "changing it needs a restart"))
	}
	return problems
}

// fleet records whether the store of the fleet answers.
func (o *observer) fleet(err error) {
	if err == nil {
		o.metrics.fleet.WithLabelValues().Set(1)
		o.log.Info("fleet: the store answers")
		return
	}
	o.metrics.fleet.WithLabelValues().Set(0)
	o.log.Error("fleet: the store does not answer, this instance works alone until it does", "error", err.Error())
}

// fleetEvent counts what passed between instances.
func (o *observer) fleetEvent(name string) { o.metrics.fleetEvents.WithLabelValues(name).Inc() }
