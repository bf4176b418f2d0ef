// One HTTP/1.0 exchange over TLS with Go's standard library, as server or client. The options are those of
// `mutual-grpc web-server` and `web-client`, so that a test starts both programs alike.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"
)

// patience is the longest that one connection may take.
const patience = 10 * time.Second

var (
	versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	asks     = map[string]tls.ClientAuthType{
		"none":     tls.NoClientCert,
		"optional": tls.VerifyClientCertIfGiven,
		"required": tls.RequireAndVerifyClientCert,
	}
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("web-server or web-client")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	listen := flags.String("listen", "", "address and port of the server")
	connect := flags.String("connect", "", "address and port to connect to")
	name := flags.String("server-name", "", "name in the server's certificate")
	version := flags.String("tls", "1.3", "the one version: 1.2 or 1.3")
	ask := flags.String("client-certificate", "required", "none, optional or required")
	ca := flags.String("ca", "", "PEM file of the authority")
	certificate := flags.String("certificate", "", "PEM file of this end's certificate")
	key := flags.String("key", "", "PEM file of its key")
	flags.Parse(os.Args[2:])

	pem, err := os.ReadFile(*ca)
	check(err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		log.Fatalf("%s: no certificate", *ca)
	}
	config := &tls.Config{
		MinVersion: versions[*version],
		MaxVersion: versions[*version],
		ServerName: *name,
		RootCAs:    roots,
		ClientCAs:  roots,
		ClientAuth: asks[*ask],
		NextProtos: []string{"http/1.1"},
	}
	if *certificate != "" {
		pair, err := tls.LoadX509KeyPair(*certificate, *key)
		check(err)
		config.Certificates = []tls.Certificate{pair}
	}
	if os.Args[1] == "web-server" {
		serve(*listen, config)
	} else {
		check(request(*connect, config))
	}
}

func serve(address string, config *tls.Config) {
	listener, err := tls.Listen("tcp4", address, config)
	check(err)
	fmt.Println("listening", listener.Addr())
	for {
		connection, err := listener.Accept()
		check(err)
		go func() {
			if err := answer(connection); err != nil {
				log.Print(connection.RemoteAddr(), ": ", err)
			}
		}()
	}
}

func answer(connection net.Conn) error {
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(patience))
	lines := bufio.NewReader(connection)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "\r\n" {
			break
		}
	}
	_, err := io.WriteString(connection, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello from Go\n")
	return err
}

func request(address string, config *tls.Config) error {
	connection, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp4", address, config)
	if err != nil {
		return err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(connection, "GET / HTTP/1.0\r\nHost: server\r\n\r\n"); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, connection)
	return err
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
