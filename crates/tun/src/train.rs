//! ESP packets of one child queued to be sent at once.

use crate::limits::MAX_TRAIN;
use dataplane::ChildId;
use net::{EspRoute, Sockets};

/// A row of ESP packets of equal length (the last may be shorter) for one peer.
pub(crate) struct Train {
    octets: Vec<u8>,
    used: usize,
    /// Octets of each packet but the last.
    size: usize,
    /// The last packet was shorter: none may follow.
    closed: bool,
    heading: Option<Heading>,
}

/// What all packets of a train share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heading {
    pub(crate) child: ChildId,
    pub(crate) route: EspRoute,
    pub(crate) tos: u8,
}

/// Packets of a child that did not leave.
pub(crate) struct Lost {
    pub(crate) child: ChildId,
    pub(crate) packets: u64,
}

impl Train {
    pub(crate) fn new() -> Self {
        Self { octets: vec![0; MAX_TRAIN], used: 0, size: 0, closed: false, heading: None }
    }

    /// Whether a packet of `len` octets can follow.
    pub(crate) fn takes(&self, heading: &Heading, len: usize) -> bool {
        match &self.heading {
            None => true,
            Some(own) => own == heading && !self.closed && len <= self.size && self.used + len <= MAX_TRAIN,
        }
    }

    /// Room for the next packet.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.octets.get_mut(self.used..).unwrap_or(&mut [])
    }

    /// The packet of `len` octets in [`Train::room`] belongs to the train now.
    pub(crate) fn push(&mut self, heading: Heading, len: usize) {
        if self.heading.is_none() {
            self.heading = Some(heading);
            self.size = len;
        }
        self.closed = len < self.size;
        self.used += len;
    }

    /// Sends what is queued.
    pub(crate) fn flush(&mut self, sockets: &Sockets) -> Result<(), Lost> {
        let Some(heading) = self.heading.take() else { return Ok(()) };
        let octets = self.octets.get(..self.used).unwrap_or(&[]);
        let count = octets.len().div_ceil(self.size.max(1));
        let (sent, result) = sockets.send_esp(&heading.route, heading.tos, octets, self.size);
        (self.used, self.size, self.closed) = (0, 0, false);
        let lost = (count - sent.min(count)) as u64;
        result.map_err(|_| Lost { child: heading.child, packets: lost })
    }
}
