//! Sends spans, a few at a time. What the collector does not take is lost: traces are worth less than credentials.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Method, header::CONTENT_TYPE};
use prost::Message;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    clock,
    fetch::{Call, Client, FetchError, Options, SetupError, parse_url},
    otlp::{
        ExportTraceServiceRequest, ExportTraceServiceResponse, InstrumentationScope, KeyValue, PartialSuccess,
        Resource, ResourceSpans, ScopeSpans, Span,
    },
    refresh::{EndedCall, Follower, SpanCounts},
    span::Attempts,
    target::Target,
    text::printable,
};

/// How many spans may wait, and how many go into one request: the defaults of the specification, as is the next.
const WAITING: usize = 2048;
const BATCH: usize = 512;
/// How long spans wait for others.
const DELAY: Duration = Duration::from_secs(5);
/// For a whole request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long what still waits is sent at the end.
const FAREWELL: Duration = Duration::from_secs(1);
/// An answer says how many spans were refused.
const ANSWER: usize = 16 * 1024;
/// How much is told of why they were.
const REASON: usize = 200;

/// What sends a span of each call to `target`.
pub fn follower(target: Target) -> Result<Follower, SetupError> {
    let options = Options::direct(TIMEOUT, target.ca_file.clone());
    let client = Client::new(&parse_url("collector of traces", &target.url)?, &options)?;
    let (sender, spans) = mpsc::channel(WAITING);
    let ((end, ending), (done, ended)) = (watch::channel(()), oneshot::channel());
    let losses = Arc::new(Losses::default());
    let exporter = Exporter { spans, ending, target, client, losses: Arc::clone(&losses), fails: false };
    let work = async move {
        exporter.run().await;
        // Nobody waits for it if the daemon ends in another way.
        let _unwanted = done.send(());
    };
    Ok(Follower {
        watch: Box::new(watcher(sender, Arc::clone(&losses))),
        work: Box::pin(work),
        counts: Arc::clone(&losses.counts),
        farewell: Box::pin(async move {
            drop(end);
            let _what_waits_is_lost = tokio::time::timeout(FAREWELL, ended).await;
            losses.counts.lose(losses.counts.waiting());
            losses.tell();
        }),
    })
}

/// Makes spans of calls. Never waits.
fn watcher(spans: mpsc::Sender<Span>, losses: Arc<Losses>) -> impl FnMut(&EndedCall<'_>) + Send + 'static {
    let (mut attempts, mut random) = (Attempts::default(), fastrand::Rng::new());
    move |call| {
        losses.counts.make();
        if spans.try_send(attempts.span(call, &mut random)).is_err() {
            losses.counts.lose(1);
        }
    }
}

/// What was lost, and how much of that is in the log.
#[derive(Default)]
struct Losses {
    counts: Arc<SpanCounts>,
    told: AtomicU64,
}

impl Losses {
    fn tell(&self) {
        let lost = self.counts.lost();
        let new = lost.saturating_sub(self.told.swap(lost, Ordering::Relaxed));
        if new > 0 {
            tracing::warn!("traces_endpoint: {new} span(s) were lost");
        }
    }
}

struct Exporter {
    spans: mpsc::Receiver<Span>,
    /// Its other end is dropped at the end.
    ending: watch::Receiver<()>,
    target: Target,
    client: Client,
    losses: Arc<Losses>,
    /// Whether that is in the log.
    fails: bool,
}

impl Exporter {
    /// Until the end, or until no more spans can come.
    async fn run(mut self) {
        let mut batch = Vec::new();
        let mut ends = false;
        while !ends {
            tokio::select! {
                span = self.spans.recv() => {
                    let Some(span) = span else { return };
                    batch.push(span);
                    tokio::select! {
                        () = clock::sleep(DELAY) => {}
                        _ = self.ending.changed() => ends = true,
                    }
                }
                _ = self.ending.changed() => ends = true,
            }
            loop {
                while batch.len() < BATCH
                    && let Ok(span) = self.spans.try_recv()
                {
                    batch.push(span);
                }
                if !batch.is_empty() {
                    self.settle(&mut batch).await;
                }
                let waiting = self.spans.len();
                if waiting == 0 || (!ends && waiting < BATCH) {
                    break;
                }
            }
        }
    }

    /// Sends these spans, or loses them.
    async fn settle(&mut self, batch: &mut Vec<Span>) {
        let number = batch.len() as u64;
        let (lost, why) = match self.send(std::mem::take(batch)).await {
            Ok(PartialSuccess { rejected_spans: ..=0, .. }) => (0, None),
            Ok(PartialSuccess { rejected_spans, error_message }) => {
                let said = printable(&error_message, REASON);
                (number.min(rejected_spans.unsigned_abs()), Some(format!("the collector rejects them: {said:?}")))
            }
            Err(error) => (number, Some(error.to_string())),
        };
        self.losses.counts.send(number - lost);
        self.losses.counts.lose(lost);
        match why {
            None => {
                self.losses.tell();
                self.fails = false;
            }
            Some(why) => {
                if !std::mem::replace(&mut self.fails, true) {
                    tracing::warn!("traces_endpoint: spans are lost: {why}");
                }
            }
        }
    }

    async fn send(&self, spans: Vec<Span>) -> Result<PartialSuccess, FetchError> {
        let body = self.request(spans).encode_to_vec();
        let mut call = Call::new(Method::POST, &self.target.url)
            .header(CONTENT_TYPE, const { HeaderValue::from_static("application/x-protobuf") })
            .bytes(&body);
        for (name, value) in &self.target.headers {
            call = call.secret_header(name.clone(), value)?;
        }
        let answer = self.client.send(call, ANSWER).await?;
        if !answer.status.is_success() {
            return Err(FetchError(format!("POST {}: the answer is {}", self.target.url, answer.status)));
        }
        // An answer that is no such message has taken them, too.
        let message = ExportTraceServiceResponse::decode(&**answer.body).unwrap_or_default();
        Ok(message.partial_success.unwrap_or_default())
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let attribute = |(key, value): &(String, String)| KeyValue::text(key, value.as_str());
        let attributes = self.target.resource.iter().map(attribute).collect();
        let scope = InstrumentationScope { name: "alppaca".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
        let resource = Some(Resource { attributes });
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource, scope_spans }] }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::refresh::Ending;

    /// A collector that answers each request so, or never; the requests that it gets.
    async fn collector(answer: Option<Vec<u8>>) -> (String, mpsc::UnboundedReceiver<ExportTraceServiceRequest>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let Some(answer) = answer.clone() else {
                    std::mem::forget(stream);
                    continue;
                };
                let mut bytes = Vec::new();
                let body = loop {
                    stream.read_buf(&mut bytes).await.expect("a request");
                    let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") else { continue };
                    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
                    for header in ["content-type: application/x-protobuf", "api-key: k3y"] {
                        assert!(head.contains(header), "{head}");
                    }
                    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                    let length: usize = length.expect("a length").parse().expect("a number");
                    if bytes.len() >= end + 4 + length {
                        break bytes.split_off(end + 4);
                    }
                };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
                sender.send(ExportTraceServiceRequest::decode(&*body).expect("legal")).expect("the test waits");
                stream.write_all(&[head.as_bytes(), &answer].concat()).await.expect("it is read");
            }
        });
        (url, requests)
    }

    fn following(url: &str) -> Follower {
        let target = Target::read(Some(url), |name| (name == "OTEL_EXPORTER_OTLP_HEADERS").then_some("api-key=k3y"))
            .expect("legal")
            .expect("on");
        follower(target).expect("a client")
    }

    fn tell(follower: &mut Follower, calls: usize) {
        for _ in 0..calls {
            let (ended, took) = (jiff::Timestamp::UNIX_EPOCH, Duration::from_secs(1));
            let (role, id, failure, request_id) = (None, None, None, None);
            let source = "ims";
            let ending = Ending::Success;
            (follower.watch)(&EndedCall { role, id, source, ending, failure, request_id, ended, took });
        }
    }

    #[tokio::test]
    async fn at_the_end_all_that_waits_is_sent_in_batches() {
        let (url, mut requests) = collector(Some(Vec::new())).await;
        let mut follower = following(&url);
        tell(&mut follower, BATCH + 1);
        tokio::spawn(follower.work);
        follower.farewell.await;
        let mut sizes = Vec::new();
        while let Ok(request) = requests.try_recv() {
            let [of_resource] = &*request.resource_spans else { panic!("{request:?}") };
            sizes.push(of_resource.scope_spans[0].spans.len());
        }
        assert_eq!(sizes, [BATCH, 1]);
        assert_eq!((follower.counts.sent(), follower.counts.lost()), (BATCH as u64 + 1, 0));
    }

    #[tokio::test]
    async fn what_the_collector_rejects_is_lost() {
        let partial_success = Some(PartialSuccess { rejected_spans: 2, error_message: "no".to_owned() });
        let (url, _requests) = collector(Some(ExportTraceServiceResponse { partial_success }.encode_to_vec())).await;
        let mut follower = following(&url);
        tell(&mut follower, 3);
        tokio::spawn(follower.work);
        follower.farewell.await;
        assert_eq!((follower.counts.sent(), follower.counts.lost()), (1, 2));
    }

    #[tokio::test]
    async fn a_collector_that_hangs_costs_neither_memory_nor_time() {
        let (url, _requests) = collector(None).await;
        let mut follower = following(&url);
        // Calls end faster than anything takes them.
        tell(&mut follower, 2 * WAITING);
        assert_eq!(follower.counts.lost(), WAITING as u64);
        tokio::spawn(follower.work);
        tokio::time::timeout(FAREWELL * 3, follower.farewell).await.expect("it gives up");
        assert_eq!((follower.counts.sent(), follower.counts.lost()), (0, 2 * WAITING as u64));
    }

    #[tokio::test(start_paused = true)]
    async fn spans_wait_for_others_and_are_lost_where_nobody_listens() {
        let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
        let mut follower = following(&format!("http://{gone}"));
        tell(&mut follower, 1);
        tokio::spawn(follower.work);
        clock::sleep(DELAY / 2).await;
        assert_eq!((follower.counts.waiting(), follower.counts.lost()), (1, 0));
        while follower.counts.waiting() > 0 {
            clock::sleep(DELAY).await;
        }
        assert_eq!((follower.counts.sent(), follower.counts.lost()), (0, 1));
    }
}
