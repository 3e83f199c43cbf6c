//! Opening, mending and closing interfaces: what [`crate::interfaces`] decides, done to the threads and to the kernel.

use crate::control::{Control, STOPPED, State};
use crate::device::Device;
use crate::engine::Input;
use crate::outward::MAIN;
use dataplane::{Assigned, Interface, Outcome};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

impl Control {
    /// These interfaces are to be there from now on; others only as long as something uses them. What cannot be made now is
    /// told, and tried again.
    pub(crate) fn set_interfaces(&self, wanted: &BTreeSet<Interface>) {
        let mut state = self.state();
        for name in wanted {
            match self.open_lane(&mut state, name) {
                Ok(lane) => {
                    if let Some(device) = state.interfaces.place(lane, name) {
                        self.drop_device(lane, &device);
                    }
                    let _ = self.make_device(&mut state, lane);
                }
                Err(why) => self.note(format!("The interface {name} cannot be made: {why}")),
            }
        }
        state.interfaces.want(wanted);
        self.close_unused(&mut state);
    }

    /// Makes anew what is gone: somebody has removed it, or the network namespace that it was moved to.
    pub(crate) fn mend_interfaces(&self) {
        let mut state = self.state();
        for lane in state.interfaces.lanes() {
            let _ = self.make_device(&mut state, lane);
        }
    }

    /// The lane of a child, which uses it from now on until [`Control::leave_lane`]. An interface that is not there is made.
    pub(crate) fn enter_lane(&self, state: &mut State, name: Option<&Interface>) -> Result<usize, String> {
        let lane = self.enter_lane_early(state, name)?;
        let made = self.make_device(state, lane);
        if made.is_err() {
            self.leave_lane(state, lane);
        }
        made.map(|()| lane).map_err(|why| cannot_be_made(name, &why))
    }

    /// The same for a trap or an address: its interface may be made later.
    pub(crate) fn enter_lane_early(
        &self,
        state: &mut State,
        name: Option<&Interface>,
    ) -> Result<usize, String> {
        let Some(interface) = name else { return Ok(MAIN) };
        let lane = self.open_lane(state, interface).map_err(|why| cannot_be_made(name, &why))?;
        state.interfaces.enter(lane);
        // What cannot be made is told, and tried again.
        let _ = self.make_device(state, lane);
        Ok(lane)
    }

    /// One user less.
    pub(crate) fn leave_lane(&self, state: &mut State, lane: usize) {
        state.interfaces.leave(lane);
        self.close_unused(state);
    }

    fn open_lane(&self, state: &mut State, name: &Interface) -> Result<usize, String> {
        if name.as_str() == self.device() {
            return Err("that is the name of the device of all children without an interface.".to_string());
        }
        let (lane, is_new) = state.interfaces.open(name)?;
        if is_new {
            let rng = (self.rng)();
            self.outward.call(move |outward| outward.open(lane, rng)).ok_or(STOPPED)?;
        }
        Ok(lane)
    }

    /// Makes the device of an interface, if it is not there.
    fn make_device(&self, state: &mut State, lane: usize) -> Result<(), String> {
        let Some(entry) = state.interfaces.get_mut(lane) else { return Ok(()) };
        let was_there = entry.device.is_some();
        if entry.device.as_ref().is_some_and(|device| !device.is_gone()) {
            return Ok(());
        }
        let name = entry.name.clone();
        let made = Device::create_in(&name, self.mtu, self.offload).map(Arc::new);
        let made = made.map_err(|error| error.to_string()).and_then(|device| {
            self.give_device(lane, &device)?;
            Ok(device)
        });
        let device = match made {
            Ok(device) => device,
            Err(why) => {
                if entry.told.as_ref() != Some(&why) {
                    entry.told = Some(why.clone());
                    self.note(format!(
                        "The interface {name} cannot be made: {why} It is tried again each second."
                    ));
                }
                return Err(why);
            }
        };
        let addresses: Vec<IpAddr> = entry.addresses.keys().copied().collect();
        if let Some(old) = entry.device.replace(device.clone()) {
            self.own.remove(&old);
        }
        self.own.add(&device);
        let was_told = entry.told.take().is_some();
        if was_told && !was_there {
            self.note(format!("The interface {name} is there now."));
        }
        if was_there {
            self.note(format!(
                "The interface {name} was gone and is there again; what others had set on it (addresses, routes, another \
                 network namespace) is to be set again."
            ));
        }
        for address in addresses {
            if let Err(error) = device.set_address(address, true) {
                self.note(format!("{address} cannot be set on {name}: {error}."));
            }
        }
        Ok(())
    }

    fn give_device(&self, lane: usize, device: &Arc<Device>) -> Result<(), String> {
        let (out, into) = (device.clone(), device.clone());
        let given = self.outward.call(move |outward| outward.set_device(lane, out)).ok_or(STOPPED)?;
        given.map_err(|error| format!("Its packets cannot be waited for: {error}."))?;
        self.inward.call(move |inward| inward.set_device(lane, Some(into))).ok_or(STOPPED)?;
        Ok(())
    }

    /// Its device is in the wrong place.
    fn drop_device(&self, lane: usize, device: &Device) {
        self.outward.call(move |outward| outward.drop_device(lane));
        self.inward.call(move |inward| inward.set_device(lane, None));
        self.own.remove(device);
    }

    fn close_unused(&self, state: &mut State) {
        for (lane, device) in state.interfaces.close_unused() {
            self.outward.call(move |outward| outward.close(lane));
            self.inward.call(move |inward| inward.set_device(lane, None));
            if let Some(device) = device {
                self.own.remove(&device);
            }
        }
    }

    /// Before the children that are for it, so that their routes propose it as source.
    pub(crate) fn assign(&self, assigned: &Assigned) -> Result<Outcome, String> {
        let Assigned { address, interface } = assigned;
        let mut state = self.state();
        let lane = self.enter_lane_early(&mut state, interface.as_ref())?;
        let fails = |name: &str, error| format!("{address} cannot be set on {name}: {error}.");
        let Some(entry) = state.interfaces.get_mut(lane) else {
            let set = state.routes.assign(*address);
            return set.map(|()| Outcome::Done).map_err(|error| fails(self.device(), error));
        };
        let users = entry.addresses.entry(*address).or_default();
        *users += 1;
        let name = entry.name.clone();
        let device = entry.device.clone().filter(|_| *users == 1);
        match device.map_or(Ok(()), |device| device.set_address(*address, true)) {
            Ok(()) => Ok(Outcome::Done),
            Err(error) => {
                entry.addresses.remove(address);
                self.leave_lane(&mut state, lane);
                Err(fails(name.as_str(), error))
            }
        }
    }

    pub(crate) fn unassign(&self, assigned: &Assigned) -> Result<Outcome, String> {
        let Assigned { address, interface } = assigned;
        let mut state = self.state();
        let Some(name) = interface else {
            state.routes.unassign(*address);
            return Ok(Outcome::Done);
        };
        let Some(lane) = state.interfaces.find(name) else { return Ok(Outcome::Done) };
        let Some(entry) = state.interfaces.get_mut(lane) else { return Ok(Outcome::Done) };
        let Some(users) = entry.addresses.get_mut(address) else { return Ok(Outcome::Done) };
        *users -= 1;
        if *users == 0 {
            entry.addresses.remove(address);
            // What is gone already is gone.
            let _ = entry.device.as_ref().map(|device| device.set_address(*address, false));
        }
        self.leave_lane(&mut state, lane);
        Ok(Outcome::Done)
    }

    fn note(&self, text: String) {
        (self.sink)(Input::Note(text));
    }
}

fn cannot_be_made(name: Option<&Interface>, why: &str) -> String {
    let name = name.map_or("", Interface::as_str);
    format!("the interface {name} cannot be made: {why}")
}
