//! The named branches of the procedures: which of them were taken, and how often. A run that is meant to reach them all
//! shows by these counts whether it did.

macro_rules! branches {
    ($($name:ident $text:literal),+ $(,)?) => {
        /// A branch of a procedure.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[allow(missing_docs)]
        pub enum Branch {
            $($name),+
        }

        impl Branch {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Its name: the procedure, then what happened.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text),+
                }
            }
        }
    };
}

branches! {
    CreateAsked "create child: asked",
    CreateAnswered "create child: answered",
    CreateOtherGroup "create child: once more with another group",
    CreateLater "create child: the peer is busy",
    CreateRefused "create child: refused",
    CreateDeleted "create child: deleted before its answer came",
    CreateWhileRekeying "create child: not while the IKE SA gets new keys",
    CreateNotInstalled "create child: the data plane refuses",
    RekeyChildAsked "rekey child: asked",
    RekeyChildAnswered "rekey child: answered",
    RekeyChildOtherGroup "rekey child: once more with another group",
    RekeyChildOursStays "rekey child: both ask, ours stays",
    RekeyChildTheirsStays "rekey child: both ask, the peer's stays",
    RekeyChildLater "rekey child: the peer is busy",
    RekeyChildUnknownHere "rekey child: we do not have it",
    RekeyChildClosing "rekey child: it is being deleted",
    RekeyChildMaking "rekey child: its own making is not over",
    RekeyChildOrderedDown "rekey child: ordered down meanwhile",
    RekeyIkeAsked "rekey IKE SA: asked",
    RekeyIkeAnswered "rekey IKE SA: answered",
    RekeyIkeOursStays "rekey IKE SA: both ask, ours stays",
    RekeyIkeTheirsStays "rekey IKE SA: both ask, the peer's stays",
    RekeyIkeBusy "rekey IKE SA: not while children are made",
    RekeyIkeLater "rekey IKE SA: the peer is busy",
    RekeyIkeRivalDeleted "rekey IKE SA: the peer deletes its own redundant one",
    RekeyIkeRivalHeld "rekey IKE SA: a request waits for who inherits",
    RekeyIkeOldGone "rekey IKE SA: the old one is deleted before all is decided",
    RekeyIkeBuried "rekey IKE SA: its answer comes during the deletion",
    RekeyChildStopped "rekey child: both ask with several exchanges, ours stops",
    RekeyChildInSeries "rekey child: not while several exchanges of ours are under way",
    RekeyIkeStopped "rekey IKE SA: both ask with several exchanges, ours stops",
    RestAsked "retransmission: a part of the response has come, the rest is asked for",
    FollowupAsked "follow up: asked",
    FollowupAnswered "follow up: answered",
    FollowupUnknown "follow up: nothing is known of it",
    FollowupForgotten "follow up: the peer has forgotten it",
    FollowupTimeout "follow up: the peer does not go on",
    IntermediateDone "intermediate: done",
    IntermediateAnswered "intermediate: answered",
    SecondRoundAsked "second round: asked",
    SecondRoundAnswered "second round: answered",
    PpkIntermediate "PPK: in IKE_INTERMEDIATE",
    PpkWithout "PPK: none in common, and none is required",
    PpkFresh "PPK: a fresh one for new keys that we ask for",
    PpkFreshTaken "PPK: a fresh one for new keys that the peer asks for",
    PpkFreshWithout "PPK: the peer takes no fresh one",
    PpkFreshRefused "PPK: no fresh one of the peer's is taken",
    PpkFreshRequired "PPK: new keys without one are not taken",
    PpkFreshLate "PPK: the IKE SA has a successor before it is known which one is taken",
    DeleteChildOrdered "delete: a child, by order",
    DeleteChildByPeer "delete: a child, by the peer",
    DeleteReplaced "delete: a child that has a successor, by the peer",
    DeleteInstalling "delete: a child that is being installed, by the peer",
    DeleteUnknown "delete: a child that is not here yet, by the peer",
    DeleteIke "delete: the IKE SA",
    DeleteIkeByPeer "delete: the IKE SA, by the peer",
    DeleteIkeLater "delete: the IKE SA, after what is under way",
    DeleteIkeCrossing "delete: the IKE SA, by both at once",
    DeleteIkeUnheard "delete: the IKE SA, and nobody answers",
    ProbeLook "probe: the data plane is asked",
    ProbeNotNeeded "probe: ESP has come, the peer lives",
    ProbeAsked "probe: asked",
    ProbeAnswered "probe: answered",
    ProbeTimeout "probe: dpd_timeout is over",
    ProbeSilent "probe: all transmissions are over",
    MoveMapping "move: a NAT mapping has changed",
    MoveBegun "move: another path is taken",
    MoveUpdate "move: the peer is told",
    MoveTaken "move: the peer has moved",
    MoveVerify "move: the peer is to prove where it is",
    MoveVerified "move: it has",
    MoveTold "move: the peer tells its addresses",
    MoveTrial "move: other paths are tried",
    MoveTrialWorks "move: one of them works",
    MoveNowhere "move: there is no path now",
    MoveSeenOtherwise "move: a probe shows another mapping",
    RedirectInit "redirect: in IKE_SA_INIT",
    RedirectAuth "redirect: in IKE_AUTH",
    RedirectLive "redirect: of an IKE SA that stands",
    RedirectSent "redirect: the client is told",
    LeaseGiven "lease: given",
    LeaseExhausted "lease: nothing is left",
    LeaseApplied "lease: applied",
    LeaseReturned "lease: given back",
    LeaseSought "lease: asked for again with another IKE SA",
    PuzzleCookie "puzzle: a cookie is demanded",
    PuzzleGiven "puzzle: a puzzle is given",
    PuzzleTaken "puzzle: its solution is right",
    PuzzleSolved "puzzle: we solve one",
    TrapLaid "trap: laid",
    TrapAcquire "trap: a packet asks",
    TrapRests "trap: a packet asks in vain, so soon",
    TrapTried "trap: tried",
    TrapAgain "trap: failed, again later",
    CrashToken "crash: shown by its token",
    CrashHint "crash: a hint, the peer is probed",
    CrashFirstContact "crash: the peer begins anew",
}

/// How often each branch was taken.
#[derive(Clone, Debug)]
pub struct Branches([u64; Branch::ALL.len()]);

impl Default for Branches {
    fn default() -> Self {
        Self([0; Branch::ALL.len()])
    }
}

impl Branches {
    /// It is taken once more.
    pub fn take(&mut self, branch: Branch) {
        if let Some(count) = self.0.get_mut(branch as usize) {
            *count += 1;
        }
    }

    /// Each, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Branch, u64)> {
        Branch::ALL.iter().copied().zip(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_branch_is_counted_for_itself() {
        let mut branches = Branches::default();
        branches.take(Branch::MoveBegun);
        branches.take(Branch::MoveBegun);
        branches.take(Branch::CrashFirstContact);
        let taken: Vec<_> = branches.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(taken, [(Branch::MoveBegun, 2), (Branch::CrashFirstContact, 1)]);
        let mut names: Vec<&str> = Branch::ALL.iter().map(|branch| branch.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Branch::ALL.len());
    }
}
