//! Watches the host's addresses, links and routes, and tells the IKE thread (MOBIKE, RFC 4555).

use crate::driver::Input;
use crate::mailbox::Inbox;
use std::net::IpAddr;
use tun::{OwnDevices, Watch};

/// Tells the addresses that there are, and from now on every change. Without it tunnels stand as long as nothing changes.
pub(crate) fn start(inbox: &Inbox, devices: OwnDevices) {
    let begun = Watch::open(devices).and_then(|watch| {
        let addresses = watch.addresses()?;
        inbox.send(Input::Addresses(addresses.clone()));
        let inbox = inbox.clone();
        std::thread::Builder::new().name("watch".into()).spawn(move || run(&watch, &inbox, addresses))?;
        Ok(())
    });
    if let Err(error) = begun {
        tracing::warn!("Changes of this host's addresses and routes are not noticed: {error}");
    }
}

fn run(watch: &Watch, inbox: &Inbox, mut before: Vec<IpAddr>) {
    loop {
        let addresses = match watch.changed().and_then(|()| watch.addresses()) {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::error!("Changes of this host's addresses and routes are no longer noticed: {error}");
                return;
            }
        };
        if addresses != before {
            let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            let list = if list.is_empty() { "none".to_string() } else { list.join(", ") };
            tracing::info!("The addresses of this host are now: {list}");
            before.clone_from(&addresses);
        }
        if !inbox.send(Input::Addresses(addresses)) {
            return;
        }
    }
}
