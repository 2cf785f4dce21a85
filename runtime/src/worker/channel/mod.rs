//! The queues between subtasks: one for each pair of upstream and downstream subtask, bounded in bytes, order kept.
//!
//! All queues of one downstream subtask share a lock and a waker ([`Inbox`]): it reads them in arrival order, except
//! those that alignment blocks. Batches, watermarks and barriers travel in band; only batches and watermarks wait for room.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::element::{Element, Watermark};
use crate::worker::size::batch_bytes;

/// Bytes that may wait in one queue. A single larger batch always passes through an empty queue.
pub const QUEUE_CAPACITY_BYTES: usize = 1 << 20;

/// The other end is gone: its attempt is being stopped, or its task has failed and said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other end of an edge is gone")]
pub struct Closed;

/// Why a send did not happen at once.
#[derive(Debug)]
pub enum NotSent {
    /// The queue has no room; the element comes back.
    Full(Element),
    Closed,
}

/// Makes the receiving end of `inputs` queues and their sending ends, in input order.
pub fn inbox(inputs: usize, capacity_bytes: usize) -> (Inbox, Vec<EdgeSender>) {
    let queues = (0..inputs).map(|_| Queue::default()).collect();
    let state = State { queues, receiver: None, arrivals: 0, receiver_gone: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), capacity_bytes });
    let senders = (0..inputs).map(|input| EdgeSender { shared: Arc::clone(&shared), input }).collect();
    (Inbox { shared }, senders)
}

/// What a downstream subtask reads from.
pub struct Inbox {
    shared: Arc<Shared>,
}

/// One upstream subtask's end of one queue.
pub struct EdgeSender {
    shared: Arc<Shared>,
    input: usize,
}

struct Shared {
    state: Mutex<State>,
    capacity_bytes: usize,
}

struct State {
    queues: Vec<Queue>,
    /// Set while the receiver is parked.
    receiver: Option<Waker>,
    /// Numbers elements over all queues, so that they are read in arrival order.
    arrivals: u64,
    receiver_gone: bool,
}

#[derive(Default)]
struct Queue {
    elements: VecDeque<Queued>,
    bytes: usize,
    /// Set while the sender waits for room.
    sender: Option<Waker>,
    sender_gone: bool,
    blocked: bool,
}

struct Queued {
    arrival: u64,
    bytes: usize,
    element: Element,
}

impl Inbox {
    /// The next element of any input that is not blocked, in arrival order.
    ///
    /// Cancel safe: an element is taken only when it is returned.
    ///
    /// # Errors
    /// [`Closed`] when nothing is left to read and a sender is gone.
    pub async fn receive(&mut self) -> Result<(usize, Element), Closed> {
        poll_fn(|context| self.poll_receive(context)).await
    }

    /// What is there already, without waiting.
    ///
    /// # Errors
    /// As [`Inbox::receive`].
    pub fn try_receive(&mut self) -> Result<Option<(usize, Element)>, Closed> {
        match self.poll_receive(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(received) => received.map(Some),
            Poll::Pending => Ok(None),
        }
    }

    /// Leaves an input's elements in its queue until [`Inbox::unblock_all`].
    pub fn block(&mut self, input: usize) {
        if let Some(queue) = self.shared.lock().queues.get_mut(input) {
            queue.blocked = true;
        }
    }

    pub fn unblock_all(&mut self) {
        for queue in &mut self.shared.lock().queues {
            queue.blocked = false;
        }
    }

    /// Bytes that wait in all queues.
    pub fn queued_bytes(&self) -> usize {
        self.shared.lock().queues.iter().map(|queue| queue.bytes).sum()
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<(usize, Element), Closed>> {
        let mut state = self.shared.lock();
        let Some(input) = state.oldest() else {
            if state.queues.iter().any(|queue| queue.sender_gone) {
                return Poll::Ready(Err(Closed));
            }
            state.receiver = Some(context.waker().clone());
            return Poll::Pending;
        };
        let taken = state.take(input, self.shared.capacity_bytes);
        drop(state);
        let Some((element, sender)) = taken else { return Poll::Ready(Err(Closed)) };
        if let Some(sender) = sender {
            sender.wake();
        }
        Poll::Ready(Ok((input, element)))
    }
}

impl EdgeSender {
    /// Sends without waiting.
    ///
    /// # Errors
    /// [`NotSent::Full`] when the queue has no room, with the element.
    pub fn try_send(&self, element: Element) -> Result<(), NotSent> {
        let mut state = self.shared.lock();
        if state.receiver_gone {
            return Err(NotSent::Closed);
        }
        let woken = match state.push(self.input, element, self.shared.capacity_bytes) {
            Ok(woken) => woken,
            Err(element) => return Err(NotSent::Full(element)),
        };
        drop(state);
        if let Some(receiver) = woken {
            receiver.wake();
        }
        Ok(())
    }

    /// Sends, waiting for room.
    ///
    /// # Errors
    /// [`Closed`] when the receiver is gone.
    pub async fn send(&self, element: Element) -> Result<(), Closed> {
        let mut waiting = Some(element);
        poll_fn(|context| {
            let Some(element) = waiting.take() else { return Poll::Ready(Ok(())) };
            let mut state = self.shared.lock();
            if state.receiver_gone {
                return Poll::Ready(Err(Closed));
            }
            match state.push(self.input, element, self.shared.capacity_bytes) {
                Ok(receiver) => {
                    drop(state);
                    if let Some(receiver) = receiver {
                        receiver.wake();
                    }
                    Poll::Ready(Ok(()))
                }
                Err(element) => {
                    if let Some(queue) = state.queues.get_mut(self.input) {
                        queue.sender = Some(context.waker().clone());
                    }
                    waiting = Some(element);
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Shared {
    /// No code panics while it holds this lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The input whose first element arrived first.
    fn oldest(&self) -> Option<usize> {
        let mut oldest: Option<(u64, usize)> = None;
        for (input, queue) in self.queues.iter().enumerate() {
            if queue.blocked {
                continue;
            }
            if let Some(first) = queue.elements.front()
                && oldest.is_none_or(|(arrival, _)| first.arrival < arrival)
            {
                oldest = Some((first.arrival, input));
            }
        }
        oldest.map(|(_, input)| input)
    }

    /// The first element of an input, and its sender when that should be woken.
    fn take(&mut self, input: usize, capacity: usize) -> Option<(Element, Option<Waker>)> {
        let queue = self.queues.get_mut(input)?;
        let queued = queue.elements.pop_front()?;
        queue.bytes -= queued.bytes;
        // Half empty before the sender wakes: it then sends several elements for one switch of tasks.
        let wake = queue.bytes <= capacity / 2;
        Some((queued.element, if wake { queue.sender.take() } else { None }))
    }

    /// Appends; returns the receiver when that should be woken, or the element when there is no room.
    fn push(&mut self, input: usize, element: Element, capacity: usize) -> Result<Option<Waker>, Element> {
        let arrival = self.arrivals;
        let Some(queue) = self.queues.get_mut(input) else { return Err(element) };
        let element = match element {
            Element::Watermark(watermark) => match queue.merge_watermark(watermark) {
                None => return Ok(None),
                Some(watermark) => Element::Watermark(watermark),
            },
            other => other,
        };
        let bytes = element_bytes(&element);
        let has_room = queue.bytes == 0 || queue.bytes + bytes <= capacity || matches!(element, Element::Barrier(_));
        if !has_room {
            return Err(element);
        }
        queue.bytes += bytes;
        queue.elements.push_back(Queued { arrival, bytes, element });
        let wake = !queue.blocked;
        self.arrivals += 1;
        Ok(if wake { self.receiver.take() } else { None })
    }
}

impl Queue {
    /// A watermark right behind another one replaces it: a slow reader sees the newest, and they cannot pile up.
    /// `None`: merged.
    fn merge_watermark(&mut self, watermark: Watermark) -> Option<Watermark> {
        let Watermark::At(at) = watermark else { return Some(watermark) };
        if let Some(Queued { element: Element::Watermark(Watermark::At(last)), .. }) = self.elements.back_mut() {
            *last = at.max(*last);
            return None;
        }
        Some(watermark)
    }
}

/// What an element counts in its queue. Barriers wait for nobody: there is at most one for each checkpoint in flight.
fn element_bytes(element: &Element) -> usize {
    const MARKER_BYTES: usize = 64;
    match element {
        Element::Batch(batch) => batch_bytes(&batch.rows).max(MARKER_BYTES),
        Element::Watermark(_) | Element::Barrier(_) => MARKER_BYTES,
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.receiver_gone = true;
        let mut senders = Vec::new();
        let mut dropped = Vec::new();
        for queue in &mut state.queues {
            senders.extend(queue.sender.take());
            queue.bytes = 0;
            dropped.push(std::mem::take(&mut queue.elements));
        }
        drop(state);
        for sender in senders {
            sender.wake();
        }
        // Batches are freed outside of the lock.
        drop(dropped);
    }
}

impl Drop for EdgeSender {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(queue) = state.queues.get_mut(self.input) {
            queue.sender_gone = true;
        }
        let receiver = state.receiver.take();
        drop(state);
        if let Some(receiver) = receiver {
            receiver.wake();
        }
    }
}

#[cfg(test)]
mod tests;
