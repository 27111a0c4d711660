package main

import "github.com/coreos/go-systemd/v22/daemon"

// States told to systemd (sd_notify(3)). Without systemd they go nowhere.
const (
	stateReady     = daemon.SdNotifyReady
	stateReloading = daemon.SdNotifyReloading
	stateStopping  = daemon.SdNotifyStopping
)

// notifySystemd tells the service manager the state. A manager that cannot be told is not our failure.
func notifySystemd(state string) {
	_, _ = daemon.SdNotify(false, state)
}
