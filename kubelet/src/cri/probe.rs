//! Questions to a pod over its network: HTTP, TCP and gRPC health.
//!
//! The words of the failures are upstream's (`pkg/probe`), since people search for them.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::runtime::{NetworkProbe, ProbeOutcome, RuntimeError};

/// The generated client of the gRPC health protocol.
#[expect(
    unreachable_pub,
    clippy::all,
    reason = "generated code; proto/health.proto documents it"
)]
mod health {
    tonic::include_proto!("grpc.health.v1");
}

/// A longer body than this is cut, as upstream does.
const BODY_LIMIT: usize = 10 * 1024;

/// Asks over the network of the node it runs on.
#[derive(Clone, Debug)]
pub(crate) struct NetworkProber {
    http: reqwest::Client,
}

impl NetworkProber {
    /// Sets up the HTTP client: no certificate check, no connection reuse, redirects followed on the same host only.
    pub(crate) fn new() -> Result<Self, RuntimeError> {
        let redirects = reqwest::redirect::Policy::custom(|attempt| {
            let first = attempt
                .previous()
                .first()
                .and_then(|url| url.host_str().map(str::to_owned));
            if attempt.previous().len() >= 10 || attempt.url().host_str().map(str::to_owned) != first {
                attempt.stop()
            } else {
                attempt.follow()
            }
        });
        let http = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .pool_max_idle_per_host(0)
            .no_proxy()
            .redirect(redirects)
            .user_agent("kube-probe/1.36")
            .build()
            .map_err(|error| RuntimeError::Failed(format!("set up the HTTP prober: {error}")))?;
        Ok(Self { http })
    }

    /// Asks once.
    pub(crate) async fn probe(&self, probe: &NetworkProbe, timeout: Duration) -> ProbeOutcome {
        match probe {
            NetworkProbe::Http {
                scheme,
                host,
                port,
                path,
                headers,
            } => {
                let slash = if path.starts_with('/') { "" } else { "/" };
                let host = bracketed(host);
                self.http(&format!("{scheme}://{host}:{port}{slash}{path}"), headers, timeout)
                    .await
            }
            NetworkProbe::Tcp { host, port } => tcp(host, *port, timeout).await,
            NetworkProbe::Grpc { host, port, service } => grpc(host, *port, service, timeout).await,
        }
    }

    async fn http(&self, url: &str, headers: &[(String, String)], timeout: Duration) -> ProbeOutcome {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                map.append(name, value);
            }
        }
        if !map.contains_key("accept") {
            map.insert("accept", HeaderValue::from_static("*/*"));
        }
        let asked = self.http.get(url).headers(map).timeout(timeout).send().await;
        let mut answer = match asked {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() => {
                return ProbeOutcome::Failure {
                    output: format!(
                        "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                    ),
                };
            }
            Err(error) => {
                return ProbeOutcome::Failure {
                    output: format!("Get \"{url}\": {}", innermost(&error)),
                };
            }
        };
        let code = answer.status().as_u16();
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() >= BODY_LIMIT {
                body.truncate(BODY_LIMIT);
                break;
            }
        }
        if (200..400).contains(&code) {
            ProbeOutcome::Success {
                output: String::from_utf8_lossy(&body).into_owned(),
            }
        } else {
            ProbeOutcome::Failure {
                output: format!("HTTP probe failed with statuscode: {code}"),
            }
        }
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// The part of an error chain that says what happened, worded as Go's `net` does.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    match deepest.downcast_ref::<std::io::Error>() {
        Some(io) => connect_words(io),
        None => deepest.to_string(),
    }
}

fn connect_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "dial tcp: connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "dial tcp: connect: no route to host".to_owned(),
        std::io::ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
        std::io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        _ => error.to_string(),
    }
}

async fn tcp(host: &str, port: u16, timeout: Duration) -> ProbeOutcome {
    let address = format!("{}:{port}", bracketed(host));
    match tokio::time::timeout(timeout, tokio::net::TcpStream::connect(&address)).await {
        Ok(Ok(_)) => ProbeOutcome::Success { output: String::new() },
        Ok(Err(error)) => ProbeOutcome::Failure {
            output: connect_words(&error).replacen("dial tcp:", &format!("dial tcp {address}:"), 1),
        },
        Err(_) => ProbeOutcome::Failure {
            output: format!("dial tcp {address}: i/o timeout"),
        },
    }
}

async fn grpc(host: &str, port: u16, service: &str, timeout: Duration) -> ProbeOutcome {
    let address = format!("{}:{port}", bracketed(host));
    let too_slow = || ProbeOutcome::Failure {
        output: format!(
            "timeout: failed to connect service \"{address}\" within {timeout:?}: context deadline exceeded"
        ),
    };
    let ask = async {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| ProbeOutcome::Error {
                message: error.to_string(),
            })?
            .user_agent("kube-probe/1.36")
            .map_err(|error| ProbeOutcome::Error {
                message: error.to_string(),
            })?;
        let channel = endpoint.connect().await.map_err(|_| too_slow())?;
        let answer = health::health_client::HealthClient::new(channel)
            .check(health::HealthCheckRequest {
                service: service.to_owned(),
            })
            .await
            .map_err(|status| ProbeOutcome::Failure {
                output: format!("rpc error: code = {:?} desc = {}", status.code(), status.message()),
            })?
            .into_inner();
        Ok(match answer.status() {
            health::health_check_response::ServingStatus::Serving => ProbeOutcome::Success {
                output: "service healthy".to_owned(),
            },
            other => ProbeOutcome::Failure {
                output: format!("service unhealthy (responded with \"{}\")", other.as_str_name()),
            },
        })
    };
    match tokio::time::timeout(timeout, ask).await {
        Ok(Ok(outcome) | Err(outcome)) => outcome,
        Err(_) => too_slow(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn server(answer: &'static str) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        port
    }

    fn get(port: u16) -> NetworkProbe {
        NetworkProbe::Http {
            scheme: "http".into(),
            host: "127.0.0.1".into(),
            port,
            path: "/healthz".into(),
            headers: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_status_below_400_is_success_and_the_rest_is_failure() {
        let prober = NetworkProber::new().unwrap();
        let good = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(
            prober.probe(&get(good), Duration::from_secs(1)).await,
            ProbeOutcome::Success { output: "ok".into() }
        );
        let bad = server("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(
            prober.probe(&get(bad), Duration::from_secs(1)).await,
            ProbeOutcome::Failure {
                output: "HTTP probe failed with statuscode: 503".into()
            }
        );
    }

    #[tokio::test]
    async fn nobody_listening_is_a_failure_in_the_words_of_upstream() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert_eq!(
            tcp("127.0.0.1", port, Duration::from_secs(1)).await,
            ProbeOutcome::Failure {
                output: format!("dial tcp 127.0.0.1:{port}: connect: connection refused")
            }
        );
    }
}
