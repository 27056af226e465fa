// The API server of Kubernetes with the store that it needs: `cluster FOLDER FLAG…` runs etcd on its data in FOLDER, at a
// socket there, and kube-apiserver with the flags.
package main

import (
	"log"
	"net/url"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	folder := os.Args[1]
	// A socket's path is short, so that the folder may have any.
	if err := os.Chdir(folder); err != nil {
		log.Fatal(err)
	}
	client := url.URL{Scheme: "unix", Host: "localhost:2379"}
	peer := url.URL{Scheme: "unix", Host: "localhost:2380"}
	config := embed.NewConfig()
	config.Dir = filepath.Join(folder, "etcd")
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.LogLevel = "error"
	// Its data is of no use after the test.
	config.UnsafeNoFsync = true
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		log.Fatal(err)
	}
	<-etcd.Server.ReadyNotify()
	command := app.NewAPIServerCommand()
	command.SetArgs(append([]string{"--etcd-servers=unix://localhost:2379"}, os.Args[2:]...))
	code := cli.Run(command)
	etcd.Close()
	os.Exit(code)
}
