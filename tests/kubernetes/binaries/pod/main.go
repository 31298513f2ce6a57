// What runs in pods of the tests that want no image of ours: it holds a pod's namespaces, answers, and asks.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	switch command := os.Args[1]; command {
	case "pause":
		pause()
	case "serve":
		fail(serve(os.Args[2]))
	case "fetch":
		fail(fetch(os.Args[2]))
	case "rights":
		fail(rights(os.Args[2:]))
	default:
		fail(fmt.Errorf("%s: no such command: pause, serve ADDRESS, fetch URL or rights FOLDER...", command))
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Sleeps until it is told to end, and buries children that lost their parent.
func pause() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			if pid, _ := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 {
				break
			}
		}
	}
}

// Answers every request with the name of its host and the address that the request came from.
func serve(address string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	fmt.Println("serving", address)
	return http.ListenAndServe(address, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		fmt.Fprintf(answer, "%s to %s\n", name, request.RemoteAddr)
	}))
}

// Prints what a server answers, whoever signed its certificate.
func fetch(url string) error {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}

// Prints who runs this, and of each folder how large its file system is and whether it may be written to.
func rights(folders []string) error {
	fmt.Println("uid", os.Getuid())
	for _, folder := range folders {
		var system syscall.Statfs_t
		if err := syscall.Statfs(folder, &system); err != nil {
			return err
		}
		says := "writable"
		file, err := os.CreateTemp(folder, "probe")
		if err != nil {
			says = err.(*os.PathError).Err.Error()
		} else {
			os.Remove(file.Name())
			file.Close()
		}
		fmt.Printf("%s %d MiB %s\n", folder, system.Blocks*uint64(system.Bsize)>>20, says)
	}
	return nil
}
