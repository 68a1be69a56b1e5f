package httpapi

import "net/http"

// healthz says that the process serves requests.
func (s *Server) healthz(x *exchange) error {
	x.answer(http.StatusOK, []byte(`{"status":"ok"}`+"\n"))
	return nil
}

// readyz says whether a load balancer should send requests here.
func (s *Server) readyz(x *exchange) error {
	if err := s.health.Ready(); err != nil {
		return kindNotReady.newf("%v", err)
	}
	x.answer(http.StatusOK, []byte(`{"status":"ready"}`+"\n"))
	return nil
}
