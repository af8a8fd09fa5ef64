package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// settings is what the environment tells.
type settings struct {
	target string
	token  string
}

// readSettings says all that is missing at once.
func readSettings() (settings, error) {
	read := settings{target: os.Getenv("CROWN_TARGET"), token: os.Getenv("CROWN_TOKEN_SERVICE")}
	var unset []string
	for name, value := range map[string]string{"CROWN_TARGET": read.target, "CROWN_TOKEN_SERVICE": read.token} {
		if value == "" {
			unset = append(unset, name)
		}
	}
	if len(unset) > 0 {
		return settings{}, fmt.Errorf("not set: %s", strings.Join(unset, ", "))
	}
	return read, nil
}

// connect opens the one connection of the service; what goes over it carries the token.
func connect(settings settings) (*grpc.ClientConn, error) {
	return grpc.NewClient(
		settings.target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(bearer(settings.token)),
	)
}

// bearer puts a token into the metadata of each call.
type bearer string

func (token bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

// RequireTransportSecurity is false for the suite on one machine. Elsewhere a token travels over TLS only.
func (bearer) RequireTransportSecurity() bool { return false }
