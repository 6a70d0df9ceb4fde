//! Works a device's queue on one thread of its own: interactive queries first, then background jobs, each in order; a job
//! that runs gives way to them at its pauses. Its kernels use all workers, so that two queries at once would only make
//! both late. A query that nobody wants any more is skipped; a panic is an error of that query alone.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use client_protocol::{ErrorKind, ErrorObject};
use models::Interrupt;
use tokio::sync::oneshot;

use crate::errors;
use crate::interrupt::Token;
use crate::memory::{Expected, Reserve};
use crate::wakefulness::Wakefulness;

type Work = Box<dyn FnOnce() + Send>;

/// How urgent a query is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Someone waits for it.
    Interactive,
    /// A job, which waits until nobody does.
    Background,
}

/// The queue of one device.
#[derive(Debug)]
pub(crate) struct ComputeQueue {
    shared: Arc<Shared>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Shared {
    lanes: Mutex<Lanes>,
    changed: Condvar,
}

#[derive(Default)]
struct Lanes {
    interactive: VecDeque<Work>,
    background: VecDeque<Work>,
    is_running: bool,
    is_closed: bool,
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes")
            .field("waiting", &self.waiting())
            .field("is_running", &self.is_running)
            .finish_non_exhaustive()
    }
}

impl Lanes {
    fn waiting(&self) -> usize {
        self.interactive.len() + self.background.len()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        // Work runs outside the lock, so that no panic can leave it half changed.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs what waits interactively, in the middle of a job.
    fn give_way(&self) {
        while let Some(work) = { self.lock().interactive.pop_front() } {
            work();
        }
    }

    /// The next work, once there is some; none once the queue is closed and empty. Readies memory meanwhile.
    fn next(&self, reserve: &mut Reserve) -> Option<(Urgency, Work)> {
        let mut lanes = self.lock();
        loop {
            let next = lanes.interactive.pop_front().map(|work| (Urgency::Interactive, work));
            if let Some(next) = next.or_else(|| lanes.background.pop_front().map(|work| (Urgency::Background, work))) {
                lanes.is_running = true;
                return Some(next);
            }
            if lanes.is_closed {
                return None;
            }
            drop(lanes);
            let is_more_to_ready = reserve.step();
            lanes = self.lock();
            if is_more_to_ready || lanes.waiting() > 0 || lanes.is_closed {
                continue;
            }
            lanes = self.changed.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for ComputeQueue {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
    }
}

impl ComputeQueue {
    /// A queue with its thread, which ends when the queue is dropped.
    pub(crate) fn start(device: &str, capacity: usize, expected: Expected) -> std::io::Result<ComputeQueue> {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        std::thread::Builder::new().name(format!("compute {device}")).stack_size(8 << 20).spawn(move || {
            let mut reserve = Reserve::new(expected);
            while let Some((urgency, work)) = of_thread.next(&mut reserve) {
                reserve.take();
                let give_way = of_thread.clone();
                // On one of the kernels' own threads, which begins by itself what another would have to be woken for.
                rayon::scope(move |_| {
                    let _awake = Wakefulness::begin();
                    match urgency {
                        Urgency::Interactive => work(),
                        Urgency::Background => models::pause::with_pauses(Rc::new(move || give_way.give_way()), work),
                    }
                });
                of_thread.lock().is_running = false;
            }
        })?;
        Ok(ComputeQueue { shared, capacity })
    }

    /// Runs a query in its turn.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        urgency: Urgency,
        token: &Token,
        query: impl FnOnce() -> Result<T, ErrorObject> + Send + 'static,
    ) -> Result<T, ErrorObject> {
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
        self.put(urgency, work)?;
        answered
            .await
            .unwrap_or_else(|_| Err(ErrorObject::new(ErrorKind::InternalError, "the compute thread has ended")))
    }

    fn put(&self, urgency: Urgency, work: Work) -> Result<(), ErrorObject> {
        let mut lanes = self.shared.lock();
        if lanes.waiting() >= self.capacity {
            let message = format!("{} queries wait already; try again later", self.capacity);
            return Err(ErrorObject::new(ErrorKind::Busy, message));
        }
        match urgency {
            Urgency::Interactive => lanes.interactive.push_back(work),
            Urgency::Background => lanes.background.push_back(work),
        }
        self.shared.changed.notify_one();
        Ok(())
    }

    /// How many queries wait.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.lock().waiting()
    }

    /// How many run.
    pub(crate) fn running(&self) -> usize {
        usize::from(self.shared.lock().is_running)
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
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_query_alone() {
        let queue = ComputeQueue::start("test", 4, Expected::default()).unwrap();
        let token = Token::default();
        let error = queue.run::<()>(Urgency::Interactive, &token, || panic!("on purpose")).await.unwrap_err();
        assert_eq!(error.kind(), Some(ErrorKind::InternalError));
        assert!(error.message.contains("on purpose"));
        assert_eq!(queue.run(Urgency::Interactive, &token, || Ok(5)).await, Ok(5));
    }

    #[tokio::test]
    async fn a_cancelled_query_is_skipped_and_a_full_queue_says_so() {
        let queue = Arc::new(ComputeQueue::start("test", 1, Expected::default()).unwrap());
        let (release, held) = mpsc::channel::<()>();
        let token = Token::default();
        let blocking = tokio::spawn({
            let (queue, token) = (queue.clone(), token.clone());
            async move {
                queue
                    .run(Urgency::Interactive, &token, move || {
                        held.recv().map_err(|_| ErrorObject::invalid("x", "gone"))
                    })
                    .await
            }
        });
        while queue.running() == 0 {
            tokio::task::yield_now().await;
        }
        let cancelled = Token::default();
        let waiting = tokio::spawn({
            let (queue, token) = (queue.clone(), cancelled.clone());
            async move { queue.run(Urgency::Interactive, &token, || Ok(())).await }
        });
        while queue.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(queue.run(Urgency::Interactive, &token, || Ok(())).await.unwrap_err().kind(), Some(ErrorKind::Busy));
        cancelled.cancel.cancel();
        release.send(()).unwrap();
        assert_eq!(waiting.await.unwrap().unwrap_err().kind(), Some(ErrorKind::Cancelled));
        assert_eq!(blocking.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_job_gives_way_between_its_steps() {
        let queue = Arc::new(ComputeQueue::start("test", 9, Expected::default()).unwrap());
        let (order, ran) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        let job = tokio::spawn({
            let (queue, order) = (queue.clone(), order.clone());
            async move {
                let steps = move || {
                    order.send("first step").unwrap();
                    held.recv().unwrap();
                    models::pause::point();
                    order.send("last step").unwrap();
                    Ok(())
                };
                queue.run(Urgency::Background, &Token::default(), steps).await
            }
        });
        while queue.running() == 0 {
            tokio::task::yield_now().await;
        }
        let query = tokio::spawn({
            let queue = queue.clone();
            async move {
                let work = move || {
                    // A query does not give way itself.
                    models::pause::point();
                    order.send("query").unwrap();
                    Ok(())
                };
                queue.run(Urgency::Interactive, &Token::default(), work).await
            }
        });
        while queue.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        release.send(()).unwrap();
        query.await.unwrap().unwrap();
        job.await.unwrap().unwrap();
        assert_eq!(ran.try_iter().collect::<Vec<_>>(), ["first step", "query", "last step"]);
    }

    #[tokio::test]
    async fn whoever_waits_goes_before_jobs() {
        let queue = Arc::new(ComputeQueue::start("test", 9, Expected::default()).unwrap());
        let (order, ran) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        let ask = |urgency, name: &'static str, held: Option<mpsc::Receiver<()>>| {
            let (queue, order) = (queue.clone(), order.clone());
            tokio::spawn(async move {
                let work = move || {
                    // Only the first is held back.
                    held.into_iter().for_each(|held| held.recv().unwrap());
                    order.send(name).map_err(|error| ErrorObject::invalid("x", error.to_string()))
                };
                queue.run(urgency, &Token::default(), work).await
            })
        };
        let mut asked = vec![ask(Urgency::Interactive, "first", Some(held))];
        while queue.running() == 0 {
            tokio::task::yield_now().await;
        }
        for (nth, (urgency, name)) in
            [(Urgency::Background, "job"), (Urgency::Interactive, "a"), (Urgency::Interactive, "b")]
                .into_iter()
                .enumerate()
        {
            asked.push(ask(urgency, name, None));
            while queue.waiting() <= nth {
                tokio::task::yield_now().await;
            }
        }
        release.send(()).unwrap();
        for one in asked {
            one.await.unwrap().unwrap();
        }
        assert_eq!(ran.try_iter().collect::<Vec<_>>(), ["first", "a", "b", "job"]);
    }
}
