//! The end of an IKE SA: its deletion on the way, and what is kept a while for a lost response.

use crate::channel::{Channel, Incoming, Request};
use crate::ike_sa::{Datagram, End, Gone, Known, Next, Stage};
use crate::sent::Sent;
use crate::{Common, Cx, limits};
use base::Instant;
use policy::Connection;
use sa::{Answer, Event, Fate, IkeFacts, JobId, Reason};
use std::sync::Arc;
use wire::num::{ExchangeType, NotifyType};
use wire::{Delete, Notify, Payload};

/// Our request to delete the IKE SA is on its way, or waits for the end of the exchange before it.
pub(crate) struct Closing {
    connection: Arc<Connection>,
    channel: Channel,
    request: Sent,
    /// Whether `request` deletes the IKE SA; else it is an earlier one, whose response comes first.
    deletes: bool,
    /// What the log hears at the end, if it has not heard it yet.
    epitaph: Option<(IkeFacts, Fate)>,
}

/// What is left of an IKE SA that stood.
pub(crate) struct Standing {
    pub(crate) connection: Arc<Connection>,
    pub(crate) channel: Channel,
    pub(crate) asking: Option<Sent>,
}

impl Closing {
    /// Tells the peer that an established IKE SA is gone; `asking` is a request that it has not answered.
    //= rfc7296 §2.3
    //# An IKE endpoint MUST wait for a response to each of its messages before sending a subsequent message
    pub(crate) fn begin(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        Standing { connection, channel, asking }: Standing,
        epitaph: (IkeFacts, Fate),
    ) -> Next {
        match asking {
            None => Self::delete(sa, cx, connection, channel, Some(epitaph)),
            Some(request) => {
                let request = request.hurry(sa, cx, limits::DELETE_TRANSMISSIONS);
                Box::new(Self { connection, channel, request, deletes: false, epitaph: Some(epitaph) })
            }
        }
    }

    fn delete(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        connection: Arc<Connection>,
        channel: Channel,
        epitaph: Option<(IkeFacts, Fate)>,
    ) -> Next {
        Self::with(sa, cx, (connection, channel), &[Payload::Delete(Delete::ike_sa())], epitaph)
    }

    /// Tells the responder that we do not believe who it is. The order and the log have been answered.
    pub(crate) fn after_failed_authentication(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        connection: Arc<Connection>,
        channel: Channel,
    ) -> Next {
        let notify = Notify::new(NotifyType::AUTHENTICATION_FAILED, Vec::new());
        let payloads = [Payload::Notify(notify), Payload::Delete(Delete::ike_sa())];
        Self::with(sa, cx, (connection, channel), &payloads, None)
    }

    fn with(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        of: (Arc<Connection>, Channel),
        payloads: &[Payload<'_>],
        epitaph: Option<(IkeFacts, Fate)>,
    ) -> Next {
        let (connection, mut channel) = of;
        match channel.ask(sa, cx, ExchangeType::INFORMATIONAL, payloads) {
            Some(request) => {
                let request = request.at_most(limits::DELETE_TRANSMISSIONS);
                Box::new(Self { connection, channel, request, deletes: true, epitaph })
            }
            None => {
                if let Some((facts, fate)) = epitaph {
                    cx.out.tell(Event::IkeDown(facts, fate));
                }
                Box::new(Gone)
            }
        }
    }

    fn finish(self, cx: &mut Cx<'_>) -> Next {
        if let Some((facts, fate)) = self.epitaph {
            cx.out.tell(Event::IkeDown(facts, fate));
        }
        Lingering::begin(cx, self.channel)
    }
}

impl Stage for Closing {
    fn name(&self) -> &'static str {
        "deleting"
    }

    fn known(&self) -> Known<'_> {
        Known { connection: Some(&self.connection), ..Known::default() }
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        let path = datagram.path;
        match self.channel.take(sa, cx, Some(self.request.id), datagram) {
            Some(Incoming::Response(_)) if self.deletes => self.finish(cx),
            Some(Incoming::Response(_)) => {
                let Self { connection, channel, epitaph, .. } = *self;
                Self::delete(sa, cx, connection, channel, epitaph)
            }
            Some(Incoming::Request(message)) => {
                //= rfc7296 §2.25.2
                //# If a peer receives a request to delete an IKE SA that it is currently trying to close, it SHOULD
                //# reply as usual, and forget about its own close request.
                let to = Request { path, exchange: message.exchange(), id: message.id() };
                let deletes = message.contents().is_ok_and(|c| c.deletes.iter().any(|d| d.protocol.0 == 1));
                let refused = to.exchange == ExchangeType::CREATE_CHILD_SA;
                let payloads = if refused { vec![Payload::Notify(no_more())] } else { Vec::new() };
                self.channel.respond(sa, cx, to, &payloads);
                if deletes { self.finish(cx) } else { self }
            }
            None => self,
        }
    }

    fn answer(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: JobId, _: Answer) -> Next {
        self
    }

    fn time(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        match self.request.on_time(sa, cx) {
            Ok(()) => self,
            Err(_) => {
                if let Some((facts, fate)) = self.epitaph {
                    cx.out.tell(Event::IkeDown(facts, fate));
                }
                Box::new(Gone)
            }
        }
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        Some((self.request.due(), Reason::Retransmit))
    }

    fn close(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: End) -> Next {
        self
    }
}

//= rfc7296 §2.25.2
//# If a peer receives a request to create or rekey a Child SA when it is currently closing the IKE SA, it
//# SHOULD reply with TEMPORARY_FAILURE.
fn no_more() -> Notify<'static> {
    Notify::new(NotifyType::TEMPORARY_FAILURE, Vec::new())
}

/// Over. Only the last response is kept, for a request that comes again because the response was lost.
pub(crate) struct Lingering {
    channel: Channel,
    until: Instant,
    /// The peer has failed to authenticate.
    failed: bool,
}

impl Lingering {
    pub(crate) fn begin(cx: &Cx<'_>, channel: Channel) -> Next {
        if !channel.has_response() {
            return Box::new(Gone);
        }
        Box::new(Self { channel, until: cx.now.mono + limits::LINGER, failed: false })
    }

    /// A responder's whose peer has failed to authenticate. It keeps its place among the half-open ones: who fails
    /// again and again must not get more room, and more tries, than who waits.
    pub(crate) fn after_failed_authentication(cx: &Cx<'_>, channel: Channel) -> Next {
        Box::new(Self { channel, until: cx.now.mono + limits::LINGER, failed: true })
    }
}

impl Stage for Lingering {
    fn name(&self) -> &'static str {
        "deleting"
    }

    fn known(&self) -> Known<'_> {
        Known::default()
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        self.channel.take_repeated(sa, cx, datagram);
        self
    }

    fn answer(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: JobId, _: Answer) -> Next {
        self
    }

    fn time(self: Box<Self>, _: &mut Common, cx: &mut Cx<'_>) -> Next {
        if cx.now.mono >= self.until { Box::new(Gone) } else { self }
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        Some((self.until, Reason::Expire))
    }

    fn close(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: End) -> Next {
        Box::new(Gone)
    }

    fn is_half_open(&self) -> bool {
        self.failed
    }

    fn is_over(&self) -> bool {
        true
    }
}
