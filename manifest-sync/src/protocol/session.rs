//! Who may hold the control conversation: the first controller, and whoever has its session key. On a Kubernetes node
//! every Pod can reach every enclave's vsock, so an address proves nothing.

use crate::config::Takeover;

/// The session of one boot.
#[derive(Debug)]
pub struct Sessions {
    key: String,
    takeover: Takeover,
    claimed: bool,
    connected: bool,
}

/// Whether a controller is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is the controller now; one that was connected before is superseded.
    Accept,
    /// It is not.
    Refuse,
}

impl Sessions {
    /// A session with this key (random, made at boot).
    pub fn new(key: String, takeover: Takeover) -> Self {
        Self {
            key,
            takeover,
            claimed: false,
            connected: false,
        }
    }

    /// The key, for the controller that was accepted.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether `presented` is the key. Both are hashed first, so that the time taken tells nothing of the key.
    pub fn is_key(&self, presented: &str) -> bool {
        let hash = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        hash(presented).as_ref() == hash(&self.key).as_ref()
    }

    /// A controller said Hello.
    pub fn decide(&mut self, presented: Option<&str>) -> Decision {
        let accepted = match presented {
            Some(key) => self.is_key(key),
            None => !self.claimed || (self.takeover == Takeover::AfterDisconnect && !self.connected),
        };
        if !accepted {
            return Decision::Refuse;
        }
        self.claimed = true;
        self.connected = true;
        Decision::Accept
    }

    /// The controller's connection is gone.
    pub fn disconnected(&mut self) {
        self.connected = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_controller_wins_and_its_key_opens_again() {
        let mut sessions = Sessions::new("k".into(), Takeover::Never);
        assert_eq!(sessions.decide(Some("guess")), Decision::Refuse);
        assert_eq!(sessions.decide(None), Decision::Accept);
        assert_eq!(sessions.decide(None), Decision::Refuse);
        assert_eq!(sessions.decide(Some("k")), Decision::Accept);
        sessions.disconnected();
        assert_eq!(sessions.decide(None), Decision::Refuse);
        assert_eq!(sessions.decide(Some("")), Decision::Refuse);
        assert_eq!(sessions.decide(Some("k")), Decision::Accept);
    }

    #[test]
    fn without_the_key_a_take_over_needs_the_configuration_and_an_absent_controller() {
        let mut sessions = Sessions::new("k".into(), Takeover::AfterDisconnect);
        assert_eq!(sessions.decide(None), Decision::Accept);
        assert_eq!(sessions.decide(None), Decision::Refuse);
        sessions.disconnected();
        assert_eq!(sessions.decide(None), Decision::Accept);
    }
}
