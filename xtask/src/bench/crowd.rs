//! Connections that only take room: idle ones, and ones that send a byte a second.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

pub const IDLE: usize = 5_000;
pub const DRIPPING: usize = 500;
/// Every connection is looked after once in this many ticks, that is once a second.
const SLICES: usize = 20;
const TICK: Duration = Duration::from_millis(50);
/// A head that never ends, sent byte by byte.
const DRIP: &[u8] =
    b"GET / HTTP/1.1\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Keeps the connections open until it is dropped; what the server closes is opened again.
pub struct Crowd {
    stop: Arc<AtomicBool>,
    reopened: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

struct Member {
    stream: Option<TcpStream>,
    /// How many bytes of the drip are sent; None for an idle one.
    sent: Option<usize>,
}

impl Crowd {
    pub fn gather(server: SocketAddr) -> Result<Self> {
        let mut members = Vec::with_capacity(IDLE + DRIPPING);
        for index in 0..IDLE + DRIPPING {
            let stream = Some(open(server).with_context(|| format!("connection {index} of the crowd"))?);
            members.push(Member { stream, sent: (index % 11 == 0).then_some(0) });
        }
        let (stop, reopened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&reopened));
        let thread = thread::spawn(move || {
            for slice in (0..SLICES).cycle() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let began = Instant::now();
                for member in members.iter_mut().skip(slice).step_by(SLICES) {
                    if !member.is_open() {
                        counter.fetch_add(1, Ordering::Relaxed);
                        *member = Member { stream: open(server).ok(), sent: member.sent.map(|_| 0) };
                    }
                }
                thread::sleep(TICK.saturating_sub(began.elapsed()));
            }
        });
        Ok(Self { stop, reopened, thread: Some(thread) })
    }

    /// How many connections the server has closed, each of which was opened again within a second.
    pub fn reopened(&self) -> u64 {
        self.reopened.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Member {
    fn is_open(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        if let Some(sent) = &mut self.sent {
            // After the line's end the head stays open: more of the header's value.
            let byte = DRIP[(*sent).min(DRIP.len() - 1)];
            *sent += 1;
            if stream.write_all(&[byte]).is_err() {
                return false;
            }
        }
        matches!(stream.read(&mut [0; 512]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

fn open(server: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, Duration::from_secs(2))?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
