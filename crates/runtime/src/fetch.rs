//! Fetching CRLs and OCSP responses by HTTP.

use crate::limits;
use std::sync::Arc;
use trust::{Fetched, Request};

/// Fetches something, which may take as long as [`limits::FETCH_TIMEOUT`].
pub(crate) trait Fetch: Send + Sync {
    /// What came, or a sentence that says why nothing did.
    fn fetch(&self, request: &Request) -> Fetched;
}

/// By HTTP over TCP. There is no TLS in it, so that `https` is refused also where a redirect leads to it.
pub(crate) struct Http(ureq::Agent);

impl Http {
    pub(crate) fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(limits::FETCH_TIMEOUT))
            .max_redirects(limits::FETCH_REDIRECTS)
            .max_idle_connections(0)
            .proxy(None)
            .user_agent("handfast")
            .build();
        Self(config.into())
    }

    fn ask(&self, request: &Request) -> Result<Vec<u8>, ureq::Error> {
        let mut response = match request.body() {
            None => self.0.get(request.uri()).call()?,
            // RFC 6960 Appendix A.1.
            Some(body) => {
                self.0.post(request.uri()).header("Content-Type", "application/ocsp-request").send(body)?
            }
        };
        response.body_mut().with_config().limit(request.most() as u64).read_to_vec()
    }
}

impl Fetch for Http {
    fn fetch(&self, request: &Request) -> Fetched {
        self.ask(request).map(Arc::from).map_err(|error| sentence(&error, request))
    }
}

fn sentence(error: &ureq::Error, request: &Request) -> String {
    match error {
        ureq::Error::StatusCode(code) => format!("it answers with the HTTP status {code}"),
        ureq::Error::Timeout(_) => format!("it did not answer within {} s", limits::FETCH_TIMEOUT.as_secs()),
        ureq::Error::HostNotFound => "its name cannot be resolved".to_owned(),
        ureq::Error::BodyExceedsLimit(_) => format!("it sends more than {} octets", request.most()),
        ureq::Error::TooManyRedirects => {
            format!("it sends us on more than {} times", limits::FETCH_REDIRECTS)
        }
        ureq::Error::Io(error) => format!("it cannot be reached: {error}"),
        other => {
            let text: String = other.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
            format!("its answer cannot be used: {text}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::time::{Duration, Instant};
    use testcerts::{Web, ok};

    fn status(line: &str) -> impl Fn(&[u8]) -> Option<Vec<u8>> + Send + use<> {
        let response = format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        move |_| Some(response.clone().into_bytes())
    }

    fn refused(request: &Request) -> String {
        Http::new().fetch(request).expect_err("nothing that is of use")
    }

    #[test]
    fn s044_lists_are_got_and_requests_are_posted() {
        let web = Web::new();
        web.put("/list", b"the list".to_vec());
        web.answer("/ocsp", |body| Some(ok(&[body, b"?"].concat())));
        web.answer("/moved", status("302 Found\r\nLocation: /list"));
        let http = Http::new();
        assert_eq!(&*http.fetch(&Request::crl(&web.uri("/list"))).unwrap(), b"the list");
        assert_eq!(&*http.fetch(&Request::crl(&web.uri("/moved"))).unwrap(), b"the list");
        let posted = http.fetch(&Request::ocsp(&web.uri("/ocsp"), b"good".as_slice().into()));
        assert_eq!(&*posted.unwrap(), b"good?");
    }

    /// Limits: FETCH_REDIRECTS, and what `Request` says is worth reading.
    #[test]
    fn s044_what_cannot_be_fetched_is_told() {
        let web = Web::new();
        web.answer("/round", status("302 Found\r\nLocation: /round"));
        web.answer(
            "/tls",
            status(&format!("302 Found\r\nLocation: {}", web.uri("/").replace("http", "https"))),
        );
        web.answer("/file", status("302 Found\r\nLocation: file:///etc/passwd"));
        web.put("/large", vec![0; trust::limits::MAX_OCSP + 1]);
        let crl = |path: &str| refused(&Request::crl(&web.uri(path)));
        assert_eq!(crl("/none"), "it answers with the HTTP status 404");
        assert_eq!(crl("/round"), "it sends us on more than 3 times");
        assert!(crl("/tls").starts_with("its answer cannot be used: "), "{}", crl("/tls"));
        // It is a path of the same server.
        assert_eq!(crl("/file"), "it answers with the HTTP status 404");
        let large = refused(&Request::ocsp(&web.uri("/large"), b"?".as_slice().into()));
        assert_eq!(large, "it sends more than 65536 octets");
        assert!(Http::new().fetch(&Request::crl(&web.uri("/large"))).is_ok());
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let closed = refused(&Request::crl(&format!("http://{closed}/")));
        assert!(closed.starts_with("it cannot be reached: "), "{closed}");
    }

    /// Limit: FETCH_TIMEOUT.
    #[test]
    fn s044_a_server_that_is_silent_is_left() {
        let web = Web::new();
        web.answer("/silent", |_| None);
        let begun = Instant::now();
        assert_eq!(refused(&Request::crl(&web.uri("/silent"))), "it did not answer within 5 s");
        assert!(begun.elapsed() >= limits::FETCH_TIMEOUT);
    }

    /// The same for one that begins and goes on octet by octet.
    #[test]
    fn s044_a_server_that_dawdles_is_left() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").unwrap();
            // Ends when the other side has gone.
            while stream.write_all(b".").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let begun = Instant::now();
        assert_eq!(refused(&Request::crl(&uri)), "it did not answer within 5 s");
        assert!(begun.elapsed() < limits::FETCH_TIMEOUT * 4);
        server.join().unwrap();
    }
}
