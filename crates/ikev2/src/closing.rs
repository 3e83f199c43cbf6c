//! The end of an IKE SA: its deletion on the way, and what is kept a while for a lost response.

use crate::channel::{Authentic, Channel, Incoming, Message, Request};
use crate::established::{Asked, Asking};
use crate::ike_sa::{Chosen, Datagram, End, Gone, Known, Next, Stage};
use crate::rekey_ike::{self, Parent};
use crate::sent::Sent;
use crate::{Common, Cx, delete, limits};
use base::{Instant, Secret};
use policy::{Connection, IkeSuite};
use sa::{Answer, Branch, Event, Fate, IkeFacts, JobId, Path, Reason};
use std::sync::Arc;
use wire::num::{ExchangeType, NotifyType};
use wire::{Delete, Notify, Payload};

/// Our request to delete the IKE SA is on its way.
pub(crate) struct Closing {
    connection: Arc<Connection>,
    channel: Channel,
    request: Sent,
    /// What the log hears at the end, if it has not heard it yet.
    epitaph: Option<(IkeFacts, Fate)>,
}

/// What is left of an IKE SA that stood.
pub(crate) struct Standing {
    pub(crate) chosen: Chosen,
    pub(crate) channel: Channel,
    pub(crate) suite: IkeSuite,
    pub(crate) sk_d: Secret,
    /// Requests that have no response.
    pub(crate) asking: Vec<Asking>,
}

/// The requests before our deletion of the IKE SA are not answered yet.
pub(crate) struct Finishing {
    standing: Standing,
    epitaph: (IkeFacts, Fate),
}

impl Closing {
    /// Tells the peer that an established IKE SA is gone.
    //= rfc7296 §2.3
    //# An IKE endpoint MUST wait for a response to each of its messages before sending a subsequent message
    pub(crate) fn begin(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        mut standing: Standing,
        epitaph: (IkeFacts, Fate),
    ) -> Next {
        if standing.asking.is_empty() {
            cx.reach(Branch::DeleteIke);
            let Standing { chosen, channel, .. } = standing;
            return Self::delete(sa, cx, (chosen.connection, channel), Some(epitaph));
        }
        cx.reach(Branch::DeleteIkeLater);
        let hurried = |asking: Asking, sa: &mut Common, cx: &mut Cx<'_>| Asking {
            request: asking.request.hurry(sa, cx, limits::DELETE_TRANSMISSIONS),
            what: asking.what,
        };
        let asking = std::mem::take(&mut standing.asking);
        standing.asking = asking.into_iter().map(|asking| hurried(asking, sa, cx)).collect();
        Box::new(Finishing { standing, epitaph })
    }

    /// Tells the peer that an IKE SA is gone that has a successor, or never had a child. Nobody else need know.
    pub(crate) fn after_rekey(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        connection: Arc<Connection>,
        channel: Channel,
    ) -> Next {
        Self::delete(sa, cx, (connection, channel), None)
    }

    fn delete(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        of: (Arc<Connection>, Channel),
        epitaph: Option<(IkeFacts, Fate)>,
    ) -> Next {
        Self::with(sa, cx, of, &[Payload::Delete(Delete::ike_sa())], epitaph)
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
                Box::new(Self { connection, channel, request, epitaph })
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
        let id = self.request.id;
        match self.channel.take(sa, cx, |awaited| awaited == id, datagram) {
            Some(Incoming::Response(_)) => self.finish(cx),
            Some(Incoming::Request(message)) => {
                match last_answer(&mut self.channel, sa, cx, path, &message) {
                    Last::Deleted => {
                        cx.reach(Branch::DeleteIkeCrossing);
                        self.finish(cx)
                    }
                    Last::Other => self,
                }
            }
            Some(Incoming::Part(_)) | None => self,
        }
    }

    fn answer(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: JobId, _: Answer) -> Next {
        self
    }

    fn time(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        match self.request.on_time(sa, cx) {
            Ok(()) => self,
            Err(_) => {
                cx.reach(Branch::DeleteIkeUnheard);
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

impl Finishing {
    /// The peer's turn is over: ours is to delete.
    fn go_on(self, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        let Self { standing, epitaph } = self;
        let Standing { chosen, channel, .. } = standing;
        Closing::delete(sa, cx, (chosen.connection, channel), Some(epitaph))
    }

    fn on_response(
        mut self: Box<Self>,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        message: &Authentic<Message>,
    ) -> Next {
        let standing = &mut self.standing;
        if let Some(index) = standing.asking.iter().position(|asking| asking.request.id == message.id()) {
            let asking = standing.asking.remove(index);
            let asked = match asking.what {
                Asked::RekeyIke(asked) => Some(*asked),
                Asked::CloneIke(asked) => Some(asked.ike),
                _ => None,
            };
            if let Some(asked) = asked {
                let fragment_size = standing.channel.cut();
                let parent = Parent { suite: &standing.suite, sk_d: &standing.sk_d, fragment_size };
                rekey_ike::bury(&standing.chosen, sa, cx, (asked, &parent), message);
            }
        }
        if self.standing.asking.is_empty() { self.go_on(sa, cx) } else { self }
    }

    fn finish(self, cx: &mut Cx<'_>) -> Next {
        let (facts, fate) = self.epitaph;
        cx.out.tell(Event::IkeDown(facts, fate));
        Lingering::begin(cx, self.standing.channel)
    }
}

impl Stage for Finishing {
    fn name(&self) -> &'static str {
        "deleting"
    }

    fn known(&self) -> Known<'_> {
        Known { connection: Some(&self.standing.chosen.connection), ..Known::default() }
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        let path = datagram.path;
        let Standing { channel, asking, .. } = &mut self.standing;
        let awaits = |id| asking.iter().any(|asking| asking.request.id == id);
        match channel.take(sa, cx, awaits, datagram) {
            Some(Incoming::Response(message)) => self.on_response(sa, cx, &message),
            Some(Incoming::Request(message)) => match last_answer(channel, sa, cx, path, &message) {
                Last::Deleted => self.finish(cx),
                Last::Other => self,
            },
            Some(Incoming::Part(_)) | None => self,
        }
    }

    fn answer(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: JobId, _: Answer) -> Next {
        self
    }

    fn time(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        let asking = &mut self.standing.asking;
        match asking.iter_mut().find_map(|asking| asking.request.on_time(sa, cx).err()) {
            None => self,
            Some(_) => {
                let (facts, fate) = self.epitaph;
                cx.out.tell(Event::IkeDown(facts, fate));
                Box::new(Gone)
            }
        }
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        let due = self.standing.asking.iter().map(|asking| asking.request.due()).min();
        due.map(|at| (at, Reason::Retransmit))
    }

    fn close(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: End) -> Next {
        self
    }
}

/// What a request was that came at the end.
enum Last {
    /// It deletes the IKE SA.
    Deleted,
    Other,
}

/// Answers a request to an IKE SA that is at its end.
//= rfc7296 §2.25.2
//# If a peer receives a request to delete an IKE SA that it is currently trying to close, it SHOULD
//# reply as usual, and forget about its own close request.
fn last_answer(
    channel: &mut Channel,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    path: Path,
    message: &Authentic<Message>,
) -> Last {
    let to = Request { path, exchange: message.exchange(), id: message.id() };
    let deletes = message.contents().is_ok_and(|contents| delete::names_ike_sa(&contents));
    let refused = to.exchange == ExchangeType::CREATE_CHILD_SA;
    let payloads = if refused { vec![Payload::Notify(no_more())] } else { Vec::new() };
    channel.respond(sa, cx, to, &payloads);
    if deletes { Last::Deleted } else { Last::Other }
}

/// An IKE SA whose successor stands, or that is redundant: the peer is to delete it.
pub(crate) struct Replaced {
    connection: Arc<Connection>,
    channel: Channel,
    /// Whether a request of ours has no response: then no further one may go out.
    is_asking: bool,
    until: Instant,
}

impl Replaced {
    pub(crate) fn begin(cx: &Cx<'_>, connection: Arc<Connection>, channel: Channel, is_asking: bool) -> Next {
        let until = cx.now.mono + limits::HEIR_PATIENCE;
        Box::new(Self { connection, channel, is_asking, until })
    }

    /// The peer has not deleted it: we do, if we may.
    fn finish(self, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        match self.is_asking {
            true => Lingering::begin(cx, self.channel),
            false => Closing::after_rekey(sa, cx, self.connection, self.channel),
        }
    }
}

impl Stage for Replaced {
    fn name(&self) -> &'static str {
        "deleting"
    }

    fn known(&self) -> Known<'_> {
        Known { connection: Some(&self.connection), ..Known::default() }
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        let path = datagram.path;
        match self.channel.take(sa, cx, |_| false, datagram) {
            Some(Incoming::Request(message)) => {
                match last_answer(&mut self.channel, sa, cx, path, &message) {
                    Last::Deleted => Lingering::begin(cx, self.channel),
                    Last::Other => self,
                }
            }
            Some(Incoming::Response(_) | Incoming::Part(_)) | None => self,
        }
    }

    fn answer(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: JobId, _: Answer) -> Next {
        self
    }

    fn time(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        self.channel.tidy(cx.now.mono);
        match cx.now.mono >= self.until {
            true => self.finish(sa, cx),
            false => self,
        }
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        let at = self.channel.tidy_at().map_or(self.until, |at| at.min(self.until));
        Some((at, Reason::Expire))
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        match end.tell_peer {
            true => self.finish(sa, cx),
            false => Box::new(Gone),
        }
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
