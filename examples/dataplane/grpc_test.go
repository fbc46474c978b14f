package dataplane

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/interop"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	refuse "sallyport/proxy/grpc"
	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// fatalLog turns the interoperability suite's way of failing into a panic that a
// test can recover.
type fatalLog struct{ grpclog.LoggerV2 }

func (fatalLog) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (fatalLog) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (fatalLog) Fatalln(args ...any)               { panic(fmt.Sprintln(args...)) }

func init() { grpclog.SetLoggerV2(fatalLog{grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)}) }

// service is the suite's server, with what it lacks.
type service struct {
	pb.TestServiceServer
	seen atomic.Pointer[metadata.MD]
	sent atomic.Int64
}

func newService() *service { return &service{TestServiceServer: interop.NewTestServer()} }

func (s *service) EmptyCall(ctx context.Context, in *pb.Empty) (*pb.Empty, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	s.seen.Store(&md)
	switch strings.Join(md["x-test"], "") {
	case "details":
		st, _ := status.New(codes.FailedPrecondition, "not today: \t¡ñ, 100%").WithDetails(&errdetails.RetryInfo{}, &errdetails.BadRequest{
			FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "amount", Description: strings.Repeat("too much ", 100)}}})
		return nil, st.Err()
	case "deadline":
		d, ok := ctx.Deadline()
		if !ok || time.Until(d) > time.Minute {
			return nil, status.Error(codes.Internal, "no deadline")
		}
		<-ctx.Done()
		return nil, ctx.Err()
	case "cancel":
		close(cancelBegan)
		<-ctx.Done()
		close(cancelSeen)
		return nil, ctx.Err()
	}
	return s.TestServiceServer.EmptyCall(ctx, in)
}

var cancelBegan, cancelSeen = make(chan struct{}), make(chan struct{})

// StreamingOutputCall without parameters sends as fast as it is allowed to.
func (s *service) StreamingOutputCall(in *pb.StreamingOutputCallRequest, out pb.TestService_StreamingOutputCallServer) error {
	if len(in.ResponseParameters) > 0 {
		return s.TestServiceServer.StreamingOutputCall(in, out)
	}
	for {
		if err := out.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: make([]byte, 64<<10)}}); err != nil {
			return err
		}
		s.sent.Add(64 << 10)
	}
}

// harness is a client, Sallyport's forwarder, and a grpc-go server.
type harness struct {
	t      *testing.T
	svc    *service
	server *grpc.Server
	client *grpc.ClientConn
	front  *httptest.Server
	routes *upstream.Table
	fwd    *upstream.Forwarder
}

// kinds are the ways to reach a gRPC upstream.
var kinds = []string{"h2c", "unix+h2c", "https"}

func newHarness(t *testing.T, kind string, change func(*upstream.RouteConfig)) *harness {
	t.Helper()
	g := &harness{t: t, svc: newService()}
	g.front = httptest.NewUnstartedServer(nil)
	g.front.EnableHTTP2 = true
	g.front.StartTLS()
	t.Cleanup(g.front.Close)
	route := upstream.RouteConfig{Name: "node", From: "https://example.com"}

	opts := []grpc.ServerOption{grpc.MaxRecvMsgSize(64 << 20), grpc.MaxSendMsgSize(64 << 20)}
	network, address := "tcp", "127.0.0.1:0"
	switch kind {
	case "unix+h2c":
		network, address = "unix", filepath.Join(t.TempDir(), "grpc.sock")
	case "https":
		opts = append(opts, grpc.Creds(credentials.NewServerTLSFromCert(&g.front.TLS.Certificates[0])))
		route.TLS = upstream.TLSConfig{CAFile: caFile(t, g.front), ServerName: "example.com"}
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	to := kind + "://" + ln.Addr().String()
	if network == "unix" {
		to = kind + ":" + ln.Addr().String()
	}
	route.To = []string{to}
	if change != nil {
		change(&route)
	}
	g.server = grpc.NewServer(opts...)
	pb.RegisterTestServiceServer(g.server, g.svc)
	go g.server.Serve(ln)
	t.Cleanup(g.server.Stop)

	if g.routes, err = proxytest.NewTable([]upstream.RouteConfig{route}); err != nil {
		t.Fatal(err)
	}
	g.fwd = proxytest.NewForwarder(upstream.Config{Cookies: []string{"__Host-sallyport"}})
	t.Cleanup(g.fwd.Close)
	g.front.Config.Handler = http.HandlerFunc(g.serve)
	g.front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	g.dial()
	return g
}

func (g *harness) serve(w http.ResponseWriter, r *http.Request) {
	target, err := upstream.CanonicaliseBehindProxy(r, "https")
	var bad *upstream.BadRequest
	if errors.As(err, &bad) {
		http.Error(w, bad.Reason, bad.Status)
		return
	}
	route, ok := g.routes.Match(target)
	if !ok {
		http.Error(w, "no such host", http.StatusMisdirectedRequest)
		return
	}
	g.fwd.Forward(w, r, &upstream.ForwardRequest{Route: route, Target: target, ClientAddr: netip.MustParseAddr("203.0.113.7"),
		Identity: upstream.Identity{User: "u-17", Email: "alice@example.com"}})
}

func (g *harness) dial() {
	pool := x509.NewCertPool()
	pool.AddCert(g.front.Certificate())
	creds := credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: "example.com"})
	var err error
	g.client, err = grpc.NewClient("passthrough:///"+g.front.Listener.Addr().String(), grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20), grpc.MaxCallSendMsgSize(64<<20)))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { g.client.Close() })
}

func (g *harness) service() pb.TestServiceClient { return pb.NewTestServiceClient(g.client) }

func ctx(t *testing.T, pairs ...string) context.Context {
	c, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return metadata.NewOutgoingContext(c, metadata.Pairs(pairs...))
}

// The interoperability suite of gRPC itself: all four kinds of calls, their
// metadata and trailers, statuses, cancellation and timeouts.
func TestInterop(t *testing.T) {
	type call func(context.Context, pb.TestServiceClient, ...grpc.CallOption)
	for _, kind := range kinds {
		g := newHarness(t, kind, nil)
		for name, do := range map[string]call{
			"empty_unary": interop.DoEmptyUnaryCall, "large_unary": interop.DoLargeUnaryCall,
			"client_streaming": interop.DoClientStreaming, "server_streaming": interop.DoServerStreaming,
			"ping_pong": interop.DoPingPong, "empty_stream": interop.DoEmptyStream,
			"timeout_on_sleeping_server": interop.DoTimeoutOnSleepingServer,
			"cancel_after_begin":         interop.DoCancelAfterBegin, "cancel_after_first_response": interop.DoCancelAfterFirstResponse,
			"custom_metadata": interop.DoCustomMetadata, "status_code_and_message": interop.DoStatusCodeAndMessage,
			"special_status_message": interop.DoSpecialStatusMessage,
			"unimplemented_service": func(ctx context.Context, _ pb.TestServiceClient, _ ...grpc.CallOption) {
				interop.DoUnimplementedService(ctx, pb.NewUnimplementedServiceClient(g.client))
			},
			"unimplemented_method": func(ctx context.Context, _ pb.TestServiceClient, _ ...grpc.CallOption) {
				interop.DoUnimplementedMethod(ctx, g.client)
			},
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				defer func() {
					if p := recover(); p != nil {
						t.Error(p)
					}
				}()
				do(ctx(t), g.service())
			})
		}
	}
}

func TestErrorDetails(t *testing.T) {
	for _, kind := range kinds {
		_, err := newHarness(t, kind, nil).service().EmptyCall(ctx(t, "x-test", "details"), &pb.Empty{})
		st := status.Convert(err)
		if st.Code() != codes.FailedPrecondition || st.Message() != "not today: \t¡ñ, 100%" || len(st.Details()) != 2 {
			t.Errorf("%s: %v %v", kind, err, st.Details())
		}
	}
}

func TestDeadlineReachesTheServer(t *testing.T) {
	c, cancel := context.WithTimeout(ctx(t, "x-test", "deadline"), 200*time.Millisecond)
	defer cancel()
	_, err := newHarness(t, "h2c", nil).service().EmptyCall(c, &pb.Empty{})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Error(err)
	}
}

// A server's clock may be ahead of its client's: it resets the stream while the client still
// waits. That is the deadline too, before the answer and in the middle of it.
func TestServerIsFirstAtTheDeadline(t *testing.T) {
	for _, kind := range kinds {
		g := newHarness(t, kind, nil)
		inner := g.front.Config.Handler
		g.front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Grpc-Timeout", "50m")
			inner.ServeHTTP(w, r)
		})
		if _, err := g.service().EmptyCall(ctx(t, "x-test", "deadline"), &pb.Empty{}); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s: %v", kind, err)
		}
		stream, err := g.service().FullDuplexCall(ctx(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 10}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s, in the middle: %v", kind, err)
		}
		if s := g.fwd.State(g.routes)[0].Upstreams[0]; s.LastError != "" {
			t.Errorf("%s: the server is blamed: %s", kind, s.LastError)
		}
	}
}

// A server may end a call that its client is still open to speak in; the client is told
// then, and not when it speaks next.
func TestServerEndsFirst(t *testing.T) {
	for _, kind := range kinds {
		g := newHarness(t, kind, nil)
		stream, err := g.service().FullDuplexCall(ctx(t))
		if err != nil {
			t.Fatal(err)
		}
		want := &pb.EchoStatus{Code: int32(codes.Aborted), Message: "enough"}
		if err := stream.Send(&pb.StreamingOutputCallRequest{ResponseStatus: want}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.Aborted || status.Convert(err).Message() != "enough" {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// What the gate refuses has its HTTP status beside gRPC's. A client believes gRPC's, and has
// the reason, the reference and the challenge.
func TestRefusals(t *testing.T) {
	g := newHarness(t, "h2c", nil)
	for httpStatus, want := range map[int]codes.Code{401: codes.Unauthenticated, 403: codes.PermissionDenied, 429: codes.ResourceExhausted, 503: codes.Unavailable, 504: codes.DeadlineExceeded, 413: codes.ResourceExhausted} {
		g.front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse.Refuse(w, r, httpStatus, refuse.CodeOf(httpStatus), "100% no: ¡ñ (reference AAAAA-BBBBB)")
		})
		var trailer metadata.MD
		_, err := g.service().EmptyCall(ctx(t), &pb.Empty{}, grpc.Trailer(&trailer))
		if st := status.Convert(err); st.Code() != want || st.Message() != "100% no: ¡ñ (reference AAAAA-BBBBB)" || strings.Join(trailer["www-authenticate"], "") != "Bearer" {
			t.Errorf("%d: %v %v", httpStatus, err, trailer)
		}
		stream, err := g.service().FullDuplexCall(ctx(t))
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != want {
			t.Errorf("%d, streaming: %v", httpStatus, err)
		}
	}
}

func TestCancelReachesTheServer(t *testing.T) {
	g := newHarness(t, "h2c", nil)
	c, cancel := context.WithCancel(ctx(t, "x-test", "cancel"))
	done := make(chan error, 1)
	go func() {
		_, err := g.service().EmptyCall(c, &pb.Empty{})
		done <- err
	}()
	<-cancelBegan
	cancel()
	<-cancelSeen
	if err := <-done; status.Code(err) != codes.Canceled {
		t.Error(err)
	}
}

func TestLargeMessages(t *testing.T) {
	for _, kind := range kinds {
		g := newHarness(t, kind, nil)
		body := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MiB
		res, err := g.service().UnaryCall(ctx(t), &pb.SimpleRequest{ResponseSize: int32(len(body)), Payload: &pb.Payload{Body: body}})
		if err != nil || len(res.Payload.Body) != len(body) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// Identity arrives as metadata; what the client claims and our cookie do not.
func TestIdentityAsMetadata(t *testing.T) {
	g := newHarness(t, "h2c", nil)
	if _, err := g.service().EmptyCall(ctx(t, "x-sallyport-user", "evil", "x_sallyport_email", "evil", "cookie", "__Host-sallyport=secret; a=1", "data-bin", "\x00\xff"), &pb.Empty{}); err != nil {
		t.Fatal(err)
	}
	md := *g.svc.seen.Load()
	if fmt.Sprint(md["x-sallyport-user"], md["x-sallyport-email"], md["x-forwarded-for"], md["cookie"], md["data-bin"]) != "[u-17] [alice@example.com] [203.0.113.7] [a=1] [\x00\xff]" || md["x_sallyport_email"] != nil {
		t.Errorf("%v", md)
	}
}

// A client that does not read stops the server from sending: what is in between
// holds windows, not the stream.
func TestBackPressure(t *testing.T) {
	g := newHarness(t, "h2c", nil)
	c, cancel := context.WithCancel(ctx(t))
	defer cancel()
	stream, err := g.service().StreamingOutputCall(c, &pb.StreamingOutputCallRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	// It must come to rest.
	deadline := time.Now().Add(20 * time.Second)
	for last := int64(-1); ; {
		time.Sleep(200 * time.Millisecond)
		now := g.svc.sent.Load()
		if now == last {
			break
		}
		if last = now; time.Now().After(deadline) {
			t.Fatalf("still sending after %d bytes", now)
		}
	}
	if n := g.svc.sent.Load(); n > 32<<20 {
		t.Errorf("%d bytes are in between", n)
	}
	before := g.svc.sent.Load()
	for range 400 {
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if g.svc.sent.Load() == before {
		t.Error("reading did not start it again")
	}
}

// A server that is not there is UNAVAILABLE, and back when it is.
func TestUnavailable(t *testing.T) {
	g := newHarness(t, "h2c", nil)
	g.server.Stop()
	if _, err := g.service().EmptyCall(ctx(t), &pb.Empty{}); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
	if s := g.fwd.State(g.routes)[0].Upstreams[0]; s.LastError == "" || s.Outstanding != 0 {
		t.Errorf("%+v", s)
	}
}

// A server that drains (GOAWAY) finishes what it has.
func TestGracefulStop(t *testing.T) {
	g := newHarness(t, "h2c", nil)
	stream, err := g.service().FullDuplexCall(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	ask := &pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 10}}}
	talk := func() {
		t.Helper()
		if err := stream.Send(ask); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	talk()
	stopped := make(chan struct{})
	go func() { g.server.GracefulStop(); close(stopped) }()
	for range 10 {
		talk()
	}
	stream.CloseSend()
	if _, err := stream.Recv(); err != io.EOF {
		t.Error(err)
	}
	<-stopped
}
