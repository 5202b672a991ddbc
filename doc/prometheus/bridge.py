#!/usr/bin/python3
"""Serves cozi.openmetrics() to Prometheus, by psql: the server opens no port of its own."""
import http.server, subprocess, sys

class Bridge(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        psql = subprocess.run(["psql", "-XAtqc", "SELECT cozi.openmetrics()"],
                              capture_output=True, timeout=30)
        self.send_response(200 if psql.returncode == 0 else 503)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.end_headers()
        self.wfile.write(psql.stdout)

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Bridge).serve_forever()
