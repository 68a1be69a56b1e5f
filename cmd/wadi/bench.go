package main

import "github.com/spf13/cobra"

func newBenchCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{Use: "bench", Short: "Measure a node or a store"}
	group(cmd)
	return cmd
}
