package main

// noBridge stands in until the bridge is merged.
type noBridge struct{}

func (noBridge) Attend(string) func() { return func() {} }
func (noBridge) Listeners(string) int { return 0 }
