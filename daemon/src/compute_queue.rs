//! Works a device's queue on one thread of its own, in order: its kernels use all workers, so that two queries at once
//! would only make both late. A query that nobody wants any more is skipped; a panic is an error of that query alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use client_protocol::{ErrorKind, ErrorObject};
use models::Interrupt;
use tokio::sync::oneshot;

use crate::errors;
use crate::interrupt::Token;

type Work = Box<dyn FnOnce() + Send>;

/// The queue of one device.
#[derive(Debug)]
pub(crate) struct ComputeQueue {
    sender: mpsc::Sender<Work>,
    waiting: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    capacity: usize,
}

impl ComputeQueue {
    /// A queue with its thread, which ends when the queue is dropped.
    pub(crate) fn start(device: &str, capacity: usize) -> std::io::Result<ComputeQueue> {
        let (sender, receiver) = mpsc::channel::<Work>();
        let (waiting, running) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (now_waiting, now_running) = (waiting.clone(), running.clone());
        std::thread::Builder::new().name(format!("compute {device}")).stack_size(8 << 20).spawn(move || {
            for work in receiver {
                now_waiting.fetch_sub(1, Ordering::Relaxed);
                now_running.store(1, Ordering::Relaxed);
                work();
                now_running.store(0, Ordering::Relaxed);
            }
        })?;
        Ok(ComputeQueue { sender, waiting, running, capacity })
    }

    /// Runs a query in its turn.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        token: &Token,
        query: impl FnOnce() -> Result<T, ErrorObject> + Send + 'static,
    ) -> Result<T, ErrorObject> {
        if self.waiting.load(Ordering::Relaxed) >= self.capacity {
            let message = format!("{} queries wait already; try again later", self.capacity);
            return Err(ErrorObject::new(ErrorKind::Busy, message));
        }
        let (answer, answered) = oneshot::channel();
        let token = token.clone();
        let work: Work = Box::new(move || {
            let result = match token.check() {
                Ok(()) => guarded(query),
                Err(interrupted) => Err(errors::of_interrupted(interrupted)),
            };
            // The caller may be gone, and then nobody minds.
            let _ = answer.send(result);
        });
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let is_gone = self.sender.send(work).is_err();
        let gone = || ErrorObject::new(ErrorKind::InternalError, "the compute thread has ended");
        if is_gone {
            return Err(gone());
        }
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// How many queries wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many run.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }
}

/// Turns a panic into an error of this query.
pub(crate) fn guarded<T>(query: impl FnOnce() -> Result<T, ErrorObject>) -> Result<T, ErrorObject> {
    catch_unwind(AssertUnwindSafe(query)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        tracing::error!(panic = text, "a query panicked");
        Err(ErrorObject::new(
            ErrorKind::InternalError,
            format!("the daemon failed at this query: {text}; the log has more"),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_query_alone() {
        let queue = ComputeQueue::start("test", 4).unwrap();
        let token = Token::default();
        let error = queue.run::<()>(&token, || panic!("on purpose")).await.unwrap_err();
        assert_eq!(error.kind(), Some(ErrorKind::InternalError));
        assert!(error.message.contains("on purpose"));
        assert_eq!(queue.run(&token, || Ok(5)).await, Ok(5));
    }

    #[tokio::test]
    async fn a_cancelled_query_is_skipped_and_a_full_queue_says_so() {
        let queue = Arc::new(ComputeQueue::start("test", 1).unwrap());
        let (release, held) = mpsc::channel::<()>();
        let token = Token::default();
        let blocking = tokio::spawn({
            let (queue, token) = (queue.clone(), token.clone());
            async move { queue.run(&token, move || held.recv().map_err(|_| ErrorObject::invalid("x", "gone"))).await }
        });
        while queue.running() == 0 {
            tokio::task::yield_now().await;
        }
        let cancelled = Token::default();
        let waiting = tokio::spawn({
            let (queue, token) = (queue.clone(), cancelled.clone());
            async move { queue.run(&token, || Ok(())).await }
        });
        while queue.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(queue.run(&token, || Ok(())).await.unwrap_err().kind(), Some(ErrorKind::Busy));
        cancelled.cancel.cancel();
        release.send(()).unwrap();
        assert_eq!(waiting.await.unwrap().unwrap_err().kind(), Some(ErrorKind::Cancelled));
        assert_eq!(blocking.await.unwrap(), Ok(()));
    }
}
