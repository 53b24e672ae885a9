//! The mirror of a port: `{ to = "monitor", ingress = true, egress = true }`.

use crossdock_engine::switch;
use serde::{Deserialize, Serialize};

use super::fields::{Fields, boolean, name};
use super::schema::Located;
use super::value::Invalid;
use super::{PortConfig, Report};

/// Where copies go of what passes a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// The port that they leave by. While there is none of that name, no copies are made.
    pub to: String,
    /// Frames that come in are copied, as they came.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub ingress: bool,
    /// Frames that leave are copied, as they leave.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub egress: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_true(value: &bool) -> bool {
    *value
}

impl Mirror {
    /// Reads the keys of `mirror`.
    pub(super) fn read(mut fields: Fields<'_>, report: &mut Report) -> Option<Self> {
        let to = fields.required("to", name);
        let ingress = fields.value("ingress", boolean).unwrap_or(true);
        let egress = fields.value("egress", boolean).unwrap_or(true);
        if !ingress && !egress {
            fields.lack(Invalid::new("copies nothing", "ingress, egress or both; leave mirror out for none"));
        }
        fields.finish(report);
        to.map(|to| Self { to, ingress, egress })
    }
}

impl From<&Mirror> for switch::Mirror {
    fn from(Mirror { to, ingress, egress }: &Mirror) -> Self {
        Self { to: to.clone(), ingress: *ingress, egress: *egress }
    }
}

/// Whether a port shows somebody else.
pub(super) fn check(port: &Located<PortConfig>, report: &mut Report) {
    let PortConfig { name, mirror, .. } = &port.value;
    if mirror.as_ref().is_some_and(|mirror| mirror.to == *name) {
        let what = format!("port \"{name}\": mirror: to: is the port itself");
        report.add(port.line_of("mirror"), what, "another port, that shows what passes this one");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys_of_flag;
    use serde_json::{Value as Json, json};

    fn port(mirror: &Json) -> Result<PortConfig, String> {
        let port = json!({"name": "a", "domain": "lan", "mirror": mirror});
        PortConfig::from_json(&port).map_err(|report| report.to_string())
    }

    #[test]
    fn it_comes_back_as_it_was_read() {
        for mirror in [json!({"to": "m"}), json!({"to": "m", "ingress": false}), json!({"to": "m", "egress": false})] {
            let read = port(&mirror).unwrap();
            assert_eq!(json!(read)["mirror"], mirror);
            assert_eq!(PortConfig::from_json(&json!(read)), Ok(read));
        }
        let long = json!({"to": "m", "ingress": true, "egress": true});
        assert_eq!(port(&long), port(&json!({"to": "m"})));
        assert_eq!(keys_of_flag("to=m,ingress=false").unwrap(), json!({"to": "m", "ingress": false}));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            (json!({}), "mirror has no to"),
            (json!({"to": "m", "ingress": false, "egress": false}), "mirror copies nothing"),
            (json!({"to": "a"}), "mirror: to: is the port itself"),
            (json!({"to": ""}), "\"\" is not a usable name"),
            (json!({"to": "m", "both": true}), "unknown key \"both\""),
            (json!("m"), "mirror is a string"),
        ];
        for (mirror, why) in cases {
            let said = port(&mirror).unwrap_err();
            assert!(said.contains(why), "{mirror}: {said}");
        }
    }
}
