//! JSON-RPC 2.0 over HTTP POST and WebSocket on `/`: on a Unix socket always, over TCP beside it where asked.
//!
//! `calls` answers requests of one connection, `subscriptions` those to be told how far jobs are; `guard` decides who may ask at all; `unix_socket` finds the socket's
//! place and takes it; this file accepts connections and ends them.

mod calls;
mod guard;
mod subscriptions;
mod unix_socket;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonrpsee::core::middleware::RpcServiceBuilder;
use jsonrpsee::server::{
    BatchRequestConfig, HttpBody, Methods, RandomStringIdProvider, Server, ServerConfig, StopHandle, ws,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::{Service, layer::layer_fn};

use self::calls::Calls;
use crate::state::State;

pub(crate) use self::guard::Guard;
pub(crate) use self::unix_socket::{default_socket, take_socket};

/// How long running answers may take once the end was asked.
const GRACE: Duration = Duration::from_secs(5);

/// A client that sends its headers slower than this is not waited for.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves connections until the state's `shutdown` is told.
#[derive(Clone)]
pub(crate) struct Acceptor {
    state: Arc<State>,
    stop_handle: StopHandle,
    subscriptions: Methods,
    connections: Arc<Semaphore>,
    activity: Arc<Activity>,
}

/// When something was last asked, for `--idle-exit`.
#[derive(Debug)]
pub(crate) struct Activity {
    last: watch::Sender<std::time::Instant>,
    open: AtomicUsize,
}

impl Activity {
    fn touch(&self) {
        self.last.send_replace(std::time::Instant::now());
    }

    /// Connections that are open, WebSockets among them.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Waits until nothing was asked for so long, no connection is open and nothing is computed.
    pub(crate) async fn idle_for(&self, idle: Duration, is_busy: impl Fn() -> bool) {
        loop {
            if self.open() > 0 || is_busy() {
                self.touch();
            }
            let since = self.last.borrow().elapsed();
            if since >= idle {
                return;
            }
            tokio::time::sleep((idle - since).clamp(Duration::from_millis(50), Duration::from_secs(1))).await;
        }
    }
}

/// A connection that is open, until the last that holds this lets it go: a WebSocket outlives the HTTP connection that
/// it began as.
struct Open {
    activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(activity: Arc<Activity>, permit: OwnedSemaphorePermit) -> Self {
        activity.open.fetch_add(1, Ordering::Relaxed);
        Open { activity, _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.activity.open.fetch_sub(1, Ordering::Relaxed);
        self.activity.touch();
    }
}

impl Acceptor {
    /// Ready to serve; the handle must live as long as connections shall.
    pub(crate) fn new(state: Arc<State>) -> anyhow::Result<(Acceptor, jsonrpsee::server::ServerHandle)> {
        let (stop_handle, server_handle) = jsonrpsee::server::stop_channel();
        let connections = Arc::new(Semaphore::new(state.config.limits.connections));
        let activity =
            Arc::new(Activity { last: watch::Sender::new(std::time::Instant::now()), open: Default::default() });
        let subscriptions = subscriptions::subscriptions(state.clone())?;
        Ok((Acceptor { state, stop_handle, subscriptions, connections, activity }, server_handle))
    }

    /// When something was last asked.
    pub(crate) fn activity(&self) -> Arc<Activity> {
        self.activity.clone()
    }

    /// Accepts local connections of our own user.
    pub(crate) async fn serve_unix(self, listener: UnixListener) {
        let own = rustix::process::getuid().as_raw();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(peer) if peer.uid() == own => self.clone().spawn(stream, Guard::Open),
                    Ok(peer) => tracing::warn!(uid = peer.uid(), "refused a connection of another user"),
                    Err(error) => tracing::warn!(%error, "refused a connection whose user is unknown"),
                },
                Err(error) => pause_after(&error).await,
            }
        }
    }

    /// Accepts TCP connections.
    pub(crate) async fn serve_tcp(self, listener: TcpListener, guard: Guard) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "cannot switch Nagle's algorithm off");
                    }
                    let guard = match (&guard, stream.local_addr()) {
                        (Guard::Tcp { token, .. }, Ok(local)) => Guard::Tcp { local, token: token.clone() },
                        _ => guard.clone(),
                    };
                    self.clone().spawn(stream, guard);
                }
                Err(error) => pause_after(&error).await,
            }
        }
    }

    fn spawn(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, guard: Guard) {
        tokio::spawn(async move {
            let Ok(permit) = self.connections.clone().try_acquire_owned() else {
                refuse(stream).await;
                return;
            };
            let open = Arc::new(Open::new(self.activity.clone(), permit));
            self.serve(stream, guard, open).await;
        });
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, guard: Guard, open: Arc<Open>) {
        let limits = self.state.config.limits;
        let config = ServerConfig::builder()
            .max_request_body_size(u32::try_from(limits.request_bytes).unwrap_or(u32::MAX))
            .max_response_body_size(u32::MAX)
            .max_connections(u32::try_from(limits.connections).unwrap_or(u32::MAX))
            .set_batch_request_config(BatchRequestConfig::Unlimited)
            .set_id_provider(RandomStringIdProvider::new(16))
            .build();
        let calls = Calls::new(self.state.clone());
        let rpc = Server::builder()
            .set_config(config)
            .set_rpc_middleware(RpcServiceBuilder::new().layer(layer_fn(move |session| calls.of_session(session))))
            .to_service_builder()
            .build(self.subscriptions.clone(), self.stop_handle.clone());
        let activity = self.activity.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            activity.touch();
            let (mut rpc, guard, open) = (rpc.clone(), guard.clone(), open.clone());
            async move {
                if let Some(refusal) = guard.refusal(&request, limits.request_bytes) {
                    return Ok::<Response<HttpBody>, Infallible>(refusal);
                }
                if ws::is_upgrade_request(&request) {
                    let closed = rpc.on_session_closed();
                    tokio::spawn(async move {
                        closed.await;
                        drop(open);
                    });
                    request.extensions_mut().insert(subscriptions::Lasting);
                    return Ok(responded(rpc.call(request).await));
                }
                // A body whose length is not announced is measured as it comes.
                let (head, body) = request.into_parts();
                match Limited::new(body, limits.request_bytes).collect().await {
                    Ok(body) => Ok(responded(rpc.call(Request::from_parts(head, Full::new(body.to_bytes()))).await)),
                    Err(error) if error.is::<LengthLimitError>() => {
                        Ok(guard::too_large("a longer body", limits.request_bytes))
                    }
                    Err(error) => {
                        Ok(guard::plain(StatusCode::BAD_REQUEST, &format!("the request ended early: {error}")))
                    }
                }
            }
        });
        let mut connection = std::pin::pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
        );
        let mut shutdown = self.state.shutdown.subscribe();
        let asked = async move {
            // An error means that the state is gone, which ends connections too.
            let _ = shutdown.wait_for(|is_asked| *is_asked).await;
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = asked => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(GRACE, connection.as_mut()).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// An answer, where jsonrpsee has one.
fn responded(answer: Result<Response<HttpBody>, tower::BoxError>) -> Response<HttpBody> {
    answer.unwrap_or_else(|error| guard::plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))
}

/// Out of file handles, say: nothing is gained by asking again at once.
async fn pause_after(error: &std::io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Says why before closing.
async fn refuse(mut stream: impl AsyncWrite + Unpin) {
    use tokio::io::AsyncWriteExt;
    let text = "the daemon has as many connections as it may; close some and try again\n";
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    // The client may be gone already, and then nobody reads this.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Opens a TCP port; where it is not on loopback, a token is a must.
pub(crate) async fn listen(address: SocketAddr, needs_token: bool) -> anyhow::Result<TcpListener> {
    if !needs_token && !address.ip().is_loopback() {
        anyhow::bail!("--no-token is for loopback alone; {address} can be reached from elsewhere");
    }
    TcpListener::bind(address).await.map_err(|error| anyhow::anyhow!("cannot listen on {address}: {error}"))
}
