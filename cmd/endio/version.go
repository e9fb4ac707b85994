// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

// versionCmd is `endio version`.
type versionCmd struct {
	JSON bool `name:"json" help:"Print one JSON object."`
}

// Run prints the module version as the Go tool recorded it.
func (v *versionCmd) Run(c *console) error {
	out := struct {
		Version  string `json:"version"`
		Go       string `json:"go"`
		Platform string `json:"platform"`
	}{"(devel)", runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		out.Version = info.Main.Version
	}
	if v.JSON {
		return json.NewEncoder(c.out).Encode(out)
	}
	_, err := fmt.Fprintf(c.out, "endio %s %s %s\n", out.Version, out.Go, out.Platform)
	return err
}
