// Command kube is all of Kubernetes that a cluster for tests needs, in one executable: its first argument names the
// component, the others are that component's own.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	_ "time/tzdata" // time zones of CronJobs, on machines that have none

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// commands of the components; etcd and kubectl end in their own way.
var commands = map[string]func() *cobra.Command{
	"apiserver":          apiserver.NewAPIServerCommand,
	"controller-manager": controllermanager.NewControllerManagerCommand,
	"kubelet":            func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"proxy":              proxy.NewProxyCommand,
	"scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
}

func main() {
	if len(os.Args) < 2 {
		fail("a component is missing")
	}
	name := os.Args[1]
	os.Args = append([]string{name}, os.Args[2:]...)
	if os.Getenv("ONCEWARD_ENDS_WITH_INPUT") != "" {
		go endWithInput()
	}
	switch name {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kubectl":
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
	default:
		command, known := commands[name]
		if !known {
			fail(fmt.Sprintf("there is no component %q", name))
		}
		os.Exit(cli.Run(command()))
	}
}

// endWithInput: whoever started this holds the other end of its standard input. When that process is gone, however it
// ended, nobody else would end this one.
func endWithInput() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, "kube: "+why+"; usage: kube etcd|apiserver|controller-manager|scheduler|kubelet|proxy|kubectl [flags]")
	os.Exit(2)
}
