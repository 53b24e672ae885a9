//! Whether every frame is accounted for: what came in or was made has gone out, into another, or was dropped by name.

use serde_json::Value;

/// Frames of all ports together, as `show ports` counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Taken from the ports.
    pub received: u64,
    /// Copies of floods, segments of super-frames.
    pub generated: u64,
    /// Taken by the ports.
    pub sent: u64,
    /// Segments that went into super-frames.
    pub coalesced: u64,
    /// Dropped, for whatever reason.
    pub dropped: u64,
}

impl Account {
    /// Adds up the ports of `GET /v1/ports`; `None` when they are not of that shape.
    #[must_use]
    pub fn of(ports: &Value) -> Option<Self> {
        ports.as_array()?.iter().map(Self::of_port).try_fold(Self::default(), |sum, port| {
            let port = port?;
            Some(Self {
                received: sum.received + port.received,
                generated: sum.generated + port.generated,
                sent: sum.sent + port.sent,
                coalesced: sum.coalesced + port.coalesced,
                dropped: sum.dropped + port.dropped,
            })
        })
    }

    fn of_port(port: &Value) -> Option<Self> {
        let number = |key: &str| port[key].as_u64();
        let drops = port["drops"].as_object()?.values().map(Value::as_u64).sum::<Option<u64>>()?;
        Some(Self {
            received: number("rx_frames")?,
            generated: number("generated")?,
            sent: number("tx_frames")?,
            coalesced: number("coalesced")?,
            dropped: drops,
        })
    }

    /// Frames that came and did not go; at rest 0. Less where more went than came.
    #[must_use]
    pub fn unaccounted(&self) -> i128 {
        let sum = |counts: [u64; 3]| counts.into_iter().map(i128::from).sum::<i128>();
        sum([self.received, self.generated, 0]) - sum([self.sent, self.coalesced, self.dropped])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A flood of ten frames to two ports, one of which lost three.
    fn ports() -> Value {
        let port = |received, generated, sent, drops| json!({ "rx_frames": received, "generated": generated, "tx_frames": sent, "coalesced": 0, "drops": drops });
        json!([
            port(10, 10, 0, json!({})),
            port(0, 0, 10, json!({})),
            port(0, 0, 7, json!({ "tx_full": 2, "port_down": 1 }))
        ])
    }

    #[test]
    fn what_came_went_or_was_dropped() {
        let account = Account::of(&ports()).unwrap();
        assert_eq!(account, Account { received: 10, generated: 10, sent: 17, coalesced: 0, dropped: 3 });
        assert_eq!(account.unaccounted(), 0);
    }

    #[test]
    fn one_frame_less_or_more_is_seen() {
        let mut ports = ports();
        ports[2]["tx_frames"] = json!(6);
        assert_eq!(Account::of(&ports).unwrap().unaccounted(), 1);
        ports[2]["tx_frames"] = json!(8);
        assert_eq!(Account::of(&ports).unwrap().unaccounted(), -1);
    }

    #[test]
    fn a_shape_that_is_none_is_no_account() {
        for ports in [json!({}), json!([{}]), json!([{ "rx_frames": 1, "drops": {} }])] {
            assert_eq!(Account::of(&ports), None, "{ports}");
        }
    }
}
