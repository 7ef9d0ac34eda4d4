//go:build !wasip1

package sluicegate

import "fmt"

// Outside of Wasm there is no runtime: lines are printed, counters go nowhere, and the seed is that of the stage `test` of
// the pipeline `test`, as `sluicegate test` gives it.

func hostLog(level Level, line string) { fmt.Println(level, line) }

func hostCount(string, uint64) {}

func hostStageSeed() uint64 { return 0x194182447c1357 }
