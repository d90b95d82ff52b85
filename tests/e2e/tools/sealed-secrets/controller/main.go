// The sealed-secrets controller, run from outside a cluster.
//
// Its own main program takes the API server and the token from files that only a pod has. This one
// takes them from a kubeconfig, and then runs the same parts in the same order; left out are the
// pages it serves, which the lab does not ask for.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"io"
	"log"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"
	"unsafe"

	"github.com/bitnami/sealed-secrets/pkg/client/clientset/versioned"
	"github.com/bitnami/sealed-secrets/pkg/controller"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

//go:linkname initKeyRegistry github.com/bitnami/sealed-secrets/pkg/controller.initKeyRegistry
func initKeyRegistry(ctx context.Context, client kubernetes.Interface, random io.Reader, namespace, prefix, label string, size int, order string) (*controller.KeyRegistry, error)

//go:linkname initKeyRenewal github.com/bitnami/sealed-secrets/pkg/controller.initKeyRenewal
func initKeyRenewal(ctx context.Context, registry *controller.KeyRegistry, period, validFor time.Duration, cutoff time.Time, name, annotations, labels string) (func(), error)

//go:linkname initKeyGenSignalListener github.com/bitnami/sealed-secrets/pkg/controller.initKeyGenSignalListener
func initKeyGenSignalListener(trigger func())

//go:linkname prepareController github.com/bitnami/sealed-secrets/pkg/controller.prepareController
func prepareController(client kubernetes.Interface, namespace, keyNamespace string, tweak func(*metav1.ListOptions), flags *controller.Flags, sealed versioned.Interface, registry *controller.KeyRegistry) (*controller.Controller, error)

const (
	keyPrefix = "sealed-secrets-key"
	keyOrder  = "CertNotBefore"
	keySize   = 4096
	month     = 30 * 24 * time.Hour
	validFor  = 10 * 365 * 24 * time.Hour
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "file that says where the API server is and who asks")
	namespace := flag.String("namespace", "kube-system", "namespace of the sealing keys")
	flag.Parse()
	if err := run(*kubeconfig, *namespace); err != nil {
		log.Fatal(err)
	}
}

func run(kubeconfig, namespace string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	// Its own default of five requests a second is kindness to a cluster that others use.
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	sealed, err := versioned.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx := context.Background()
	registry, err := initKeyRegistry(ctx, client, rand.Reader, namespace, keyPrefix, controller.SealedSecretsKeyLabel, keySize, keyOrder)
	if err != nil {
		return err
	}
	trigger, err := initKeyRenewal(ctx, registry, month, validFor, time.Time{}, "", "", "")
	if err != nil {
		return err
	}
	initKeyGenSignalListener(trigger)
	log.Print("SIGUSR1 renews the key from now on")
	flags := &controller.Flags{AcceptV1Data: true, MaxRetries: 5, KeyOrderPriority: keyOrder}
	unsealer, err := prepareController(client, metav1.NamespaceAll, namespace, nil, flags, sealed, registry)
	if err != nil {
		return err
	}
	if err := writeStatus(unsealer); err != nil {
		return err
	}
	stop := make(chan struct{})
	defer close(stop)
	go unsealer.Run(stop)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
	return nil
}

// writeStatus turns on what is the default of the controller's own main, and can be set only there.
func writeStatus(unsealer *controller.Controller) error {
	field := reflect.ValueOf(unsealer).Elem().FieldByName("updateStatus")
	if !field.IsValid() || field.Kind() != reflect.Bool {
		return errors.New("this version of sealed-secrets has no switch for the status")
	}
	*(*bool)(unsafe.Pointer(field.UnsafeAddr())) = true
	return nil
}
