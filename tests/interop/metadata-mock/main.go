// amazon-ec2-metadata-mock as it is, for the test of the conformance table.
package main

import (
	"log"

	"github.com/aws/amazon-ec2-metadata-mock/pkg/cmd/root"
)

func main() {
	if err := root.NewCmd().Execute(); err != nil {
		log.Fatal(err)
	}
}
