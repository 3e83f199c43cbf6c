//! The exchanges of IKEv2 (RFC 7296).
//!
//! The way of a datagram: [`Door`] lets a stranger's first message in, [`IkeSa`] takes every further one to
//! its present stage. Stages of a negotiation are in `establish`, the stage that stands in `established`, the
//! last ones in `closing`. Protected datagrams pass `channel`, which alone makes messages authentic. What
//! is exchanged in an established IKE SA is one module each: `create_child`, `delete`, `probe`, `move_path`, and the places
//! of `rekey_child` and `rekey_ike`. An IKE SA that is lost comes back by `resume`. Extensions are one file each in `ext`.
#![forbid(unsafe_code)]

mod channel;
mod child;
mod clone_ike;
mod closing;
mod contents;
mod create_child;
mod cx;
mod delete;
mod door;
mod establish;
mod established;
mod ext;
mod fate;
mod fault;
mod followup;
mod fragment;
mod fresh_ppk;
mod idle;
mod ike_sa;
mod known;
pub mod limits;
mod loss;
mod move_path;
mod probe;
mod redirect;
mod rekey_child;
mod rekey_ike;
mod resume;
mod sent;
mod ticket;
mod trace;
mod transport;
mod unique;
mod window;

pub use crate::ike_sa::{End, IkeSa, Packet, Wish};
pub use cx::{Again, Cx, Lost, Origin, Superseded};
pub use door::{Arrival, Door};
pub use resume::Tickets;

use crate::fault::Fault;
use crate::ike_sa::{Chosen, Common, Datagram};
use policy::{Connection, ConnectionId};
use sa::{IkeSaId, Path, Refusal};
use std::sync::Arc;

/// Begins an IKE SA of `connection` on `path`. An error says what our own side lacks.
pub fn initiate(
    cx: &mut Cx<'_>,
    id: IkeSaId,
    connection: (ConnectionId, Arc<Connection>),
    path: Path,
    wish: Wish,
) -> Result<IkeSa, Refusal> {
    let (connection_id, connection) = connection;
    let wanted = (vec![wish], Origin::default());
    establish::initiate(cx, id, Chosen { id: connection_id, connection }, path, wanted)
}

/// Begins an IKE SA that another one has asked for. An error says what our own side lacks.
pub fn begin_again(
    cx: &mut Cx<'_>,
    id: IkeSaId,
    connection: (ConnectionId, Arc<Connection>),
    again: Again,
) -> Result<IkeSa, Refusal> {
    let (connection_id, connection) = connection;
    let Again { path, wishes, origin, .. } = again;
    establish::initiate(cx, id, Chosen { id: connection_id, connection }, path, (wishes, origin))
}
