//! What each request does: method, path and body in, status and JSON out.

use hyper::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::api::trace::TraceRequest;
use super::api::{ErrorBody, FdbChange, FdbFilter, Version};
use crate::config::{DomainConfig, PortConfig};
use crate::metrics;
use crate::service::{Kind, Refusal, ReloadError, Service};

/// What goes back.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub status: StatusCode,
    /// The methods that the path has, where the one asked for is none of them.
    pub allow: Option<&'static str>,
    pub body: Body,
}

/// What an answer says.
#[derive(Debug, PartialEq)]
pub(super) enum Body {
    /// JSON; null for an empty body.
    Json(Value),
    /// JSON that is written already: of lists that may be long.
    Written(String),
    /// Prometheus text.
    Metrics(String),
}

impl Answer {
    fn new(status: StatusCode, body: Value) -> Self {
        Self { status, allow: None, body: Body::Json(body) }
    }

    /// What there is to show.
    fn shown(list: &impl Serialize) -> Self {
        // Nothing that is shown has a map with keys that are no strings, or fails otherwise.
        let body = Body::Written(serde_json::to_string(list).unwrap_or_default());
        Self { status: StatusCode::OK, allow: None, body }
    }

    /// A refusal in words.
    pub fn error(status: StatusCode, error: impl Into<String>, hint: Option<String>) -> Self {
        Self::new(status, json!(ErrorBody { error: error.into(), hint, problems: Vec::new() }))
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::error(status(refusal.kind), refusal.what, refusal.hint)
    }
}

impl From<ReloadError> for Answer {
    fn from(error: ReloadError) -> Self {
        let problems = error.problems();
        let refusal = Refusal::from(error);
        let body = ErrorBody { error: refusal.what, hint: refusal.hint, problems };
        Self::new(status(refusal.kind), json!(body))
    }
}

fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unknown => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Carries out one request.
pub(super) fn answer(service: &Service, method: &Method, path: &str, body: &[u8]) -> Answer {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let done = match (method.as_str(), parts.as_slice()) {
        ("GET", ["v1", "metrics"]) => Some(metrics(service)),
        ("POST", ["v1", "reload"]) => Some(Ok(reload(service))),
        ("GET", ["v1", what]) => get(service, what),
        ("POST", ["v1", "ports"]) => Some(add_port(service, body)),
        ("POST", ["v1", "domains"]) => Some(add_domain(service, body)),
        ("POST", ["v1", "trace"]) => Some(trace(service, body)),
        ("POST", ["v1", "fdb"]) => Some(set_static(service, body)),
        ("POST", ["v1", "fdb", "flush"]) => Some(flush(service, body)),
        ("DELETE", ["v1", "fdb", domain, mac]) => Some(service.forget_address(domain, mac, None).map(removed)),
        ("DELETE", ["v1", "fdb", domain, mac, vlan]) => Some(forget_in(service, [domain, mac, vlan])),
        ("GET", ["v1", "ports", name]) => Some(service.port_in_full(name).map(|port| Answer::shown(&port))),
        ("PATCH", ["v1", "ports", name]) => Some(set_port(service, name, body)),
        ("PATCH", ["v1", "domains", name]) => Some(set_domain(service, name, body)),
        ("DELETE", ["v1", "capture", number]) => Some(service.end_capture(number).map(removed)),
        ("DELETE", ["v1", "ports", name]) => Some(service.remove_port(name).map(removed)),
        ("DELETE", ["v1", "domains", name]) => Some(service.remove_domain(name).map(removed)),
        _ => None,
    };
    match done {
        Some(done) => done.unwrap_or_else(Answer::from),
        None => unknown(&parts, path),
    }
}

/// Carries out one request of those who only read metrics.
pub(super) fn scrape(service: &Service, method: &Method, path: &str, _body: &[u8]) -> Answer {
    match (method, path) {
        (&Method::GET, "/metrics") => metrics(service).unwrap_or_else(Answer::from),
        (_, "/metrics") => {
            let refusal = Answer::error(StatusCode::METHOD_NOT_ALLOWED, "/metrics has no such method", None);
            Answer { allow: Some("GET"), ..refusal }
        }
        _ => Answer::error(StatusCode::NOT_FOUND, format!("no {path} here"), Some("/metrics".into())),
    }
}

fn get(service: &Service, what: &str) -> Option<Result<Answer, Refusal>> {
    let answer = match what {
        "version" => Ok(Answer::shown(&Version { version: env!("CARGO_PKG_VERSION").into(), pid: std::process::id() })),
        "ports" => Ok(Answer::shown(&service.ports())),
        "domains" => service.domains().map(|domains| Answer::shown(&domains)),
        "config" => Ok(Answer::shown(&service.running_config())),
        "fdb" => service.fdb().map(|entries| Answer::shown(&entries)),
        "flows" => service.flows().map(|flows| Answer::shown(&flows)),
        "drops" => Ok(Answer::shown(&service.drops())),
        "workers" => Ok(Answer::shown(&service.workers())),
        _ => return None,
    };
    Some(answer)
}

fn metrics(service: &Service) -> Result<Answer, Refusal> {
    Ok(Answer { status: StatusCode::OK, allow: None, body: Body::Metrics(metrics::text(service)?) })
}

fn reload(service: &Service) -> Answer {
    service.reload().map_or_else(Answer::from, |done| Answer::new(StatusCode::OK, json!(done)))
}

fn add_port(service: &Service, body: &[u8]) -> Result<Answer, Refusal> {
    let port = PortConfig::from_json(&parse(body)?)?;
    service.add_port(&port)?;
    Ok(Answer::new(StatusCode::CREATED, json!(service.port(&port.name))))
}

fn set_port(service: &Service, name: &str, body: &[u8]) -> Result<Answer, Refusal> {
    service.set_port(name, &parse(body)?)?;
    Ok(Answer::new(StatusCode::OK, json!(service.port(name))))
}

fn add_domain(service: &Service, body: &[u8]) -> Result<Answer, Refusal> {
    let domain = DomainConfig::from_json(&parse(body)?)?;
    service.add_domain(&domain)?;
    Ok(Answer::new(StatusCode::CREATED, shown_domain(service, &domain.name)?))
}

fn set_domain(service: &Service, name: &str, body: &[u8]) -> Result<Answer, Refusal> {
    service.set_domain(name, &parse(body)?)?;
    Ok(Answer::new(StatusCode::OK, shown_domain(service, name)?))
}

fn shown_domain(service: &Service, name: &str) -> Result<Value, Refusal> {
    Ok(json!(service.domains()?.into_iter().find(|domain| domain.name == name)))
}

fn set_static(service: &Service, body: &[u8]) -> Result<Answer, Refusal> {
    let wrong = |error: serde_json::Error| Refusal::new(Kind::Invalid, error.to_string(), "domain, mac, port and vlan");
    let change: FdbChange = serde_json::from_value(parse(body)?).map_err(wrong)?;
    service.set_static(&change)?;
    Ok(Answer::new(StatusCode::CREATED, json!(change)))
}

fn forget_in(service: &Service, [domain, mac, vlan]: [&str; 3]) -> Result<Answer, Refusal> {
    let wrong = |_| Refusal::new(Kind::Invalid, format!("vlan: \"{vlan}\" is no number"), "1 to 4094");
    service.forget_address(domain, mac, Some(vlan.parse().map_err(wrong)?)).map(removed)
}

fn flush(service: &Service, body: &[u8]) -> Result<Answer, Refusal> {
    let wrong =
        |error: serde_json::Error| Refusal::new(Kind::Invalid, error.to_string(), "domain, port and vlan, or {}");
    let filter: FdbFilter = serde_json::from_value(parse(body)?).map_err(wrong)?;
    service.flush(&filter).map(removed)
}

fn trace(service: &Service, body: &[u8]) -> Result<Answer, Refusal> {
    let wrong = |error: serde_json::Error| Refusal::new(Kind::Invalid, error.to_string(), "port, and hex or fields");
    let request: TraceRequest = serde_json::from_value(parse(body)?).map_err(wrong)?;
    Ok(Answer::new(StatusCode::OK, json!(service.trace(&request)?)))
}

pub(super) fn parse(body: &[u8]) -> Result<Value, Refusal> {
    let wrong =
        |error| Refusal::new(Kind::Invalid, format!("the body is not JSON: {error}"), "an object of keys and values");
    serde_json::from_slice(body).map_err(wrong)
}

fn removed(_: ()) -> Answer {
    Answer::new(StatusCode::NO_CONTENT, Value::Null)
}

fn unknown(parts: &[&str], path: &str) -> Answer {
    let allow = match parts {
        ["v1", "ports" | "domains" | "fdb"] => "GET, POST",
        ["v1", "ports", _] => "GET, PATCH, DELETE",
        ["v1", "domains", _] => "PATCH, DELETE",
        ["v1", "trace" | "capture" | "reload"] | ["v1", "fdb", "flush"] => "POST",
        ["v1", "capture", _] | ["v1", "fdb", _, _] | ["v1", "fdb", _, _, _] => "DELETE",
        ["v1", "version" | "flows" | "drops" | "workers" | "metrics" | "config"] => "GET",
        _ => {
            let hint = "/v1/ and version, ports, domains, fdb, flows, drops, workers, config, metrics or reload";
            return Answer::error(StatusCode::NOT_FOUND, format!("no {path} here"), Some(hint.into()));
        }
    };
    let error = format!("{path} has no such method");
    let refusal = Answer::error(StatusCode::METHOD_NOT_ALLOWED, error, Some(format!("it has {allow}")));
    Answer { allow: Some(allow), ..refusal }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// A switch without ports, which needs no privileges.
    fn service() -> Service {
        let mut config = Config::default();
        (config.engine.frames, config.engine.super_frames, config.engine.flows_max) = (512, 16, 64);
        Service::start(&config).unwrap()
    }

    fn ask(service: &Service, method: &str, path: &str, body: &str) -> (u16, Value) {
        let answer = answer(service, &Method::from_bytes(method.as_bytes()).unwrap(), path, body.as_bytes());
        match answer.body {
            Body::Json(json) => (answer.status.as_u16(), json),
            Body::Written(json) => (answer.status.as_u16(), serde_json::from_str(&json).unwrap()),
            Body::Metrics(text) => (answer.status.as_u16(), json!(text)),
        }
    }

    #[test]
    fn domains_come_and_go() {
        let service = service();
        let (status, made) = ask(&service, "POST", "/v1/domains", r#"{"name": "lan", "ageing_s": 10}"#);
        assert_eq!((status, &made["name"], &made["ageing_s"]), (201, &json!("lan"), &json!(10)));
        assert_eq!(ask(&service, "POST", "/v1/domains", r#"{"name": "lan"}"#).0, 409);
        assert_eq!(ask(&service, "GET", "/v1/domains", "").1.as_array().unwrap().len(), 1);
        assert_eq!(ask(&service, "DELETE", "/v1/domains/lan", ""), (204, Value::Null));
        assert_eq!(ask(&service, "DELETE", "/v1/domains/lan", "").0, 404);
        assert_eq!(ask(&service, "GET", "/v1/domains", "").1, json!([]));
    }

    #[test]
    fn keys_of_a_domain_change_and_the_others_stay() {
        let service = service();
        ask(&service, "POST", "/v1/domains", r#"{"name": "lan", "ageing_s": 10, "mac": "02:00:00:00:00:fe"}"#);
        let entry = r#"{"fdb_full": "refuse", "mac": null, "static": [{"mac": "02:00:00:00:00:09", "port": "h1"}]}"#;
        let (status, changed) = ask(&service, "PATCH", "/v1/domains/lan", entry);
        assert_eq!((status, &changed["ageing_s"], &changed["fdb_full"]), (200, &json!(10), &json!("refuse")));
        assert_eq!((&changed["mac"], &changed["static_entries"]), (&Value::Null, &json!(1)));
        let waiting = json!([{"domain": "lan", "vlan": null, "service": false, "mac": "02:00:00:00:00:09", "port": "h1",
            "age_s": 0, "static": true, "active": false}]);
        assert_eq!(ask(&service, "GET", "/v1/fdb", "").1, waiting);
        let config = ask(&service, "GET", "/v1/config", "").1;
        assert_eq!(config["domain"][0]["static"], json!([{"mac": "02:00:00:00:00:09", "port": "h1"}]));
        let refused = [
            ("PATCH", "/v1/domains/lan", r#"{"name": "wan"}"#, 409),
            ("PATCH", "/v1/domains/lan", r#"{"ageing": 5}"#, 400),
            ("PATCH", "/v1/domains/lan", "[]", 400),
            ("PATCH", "/v1/domains/wan", "{}", 404),
            ("PATCH", "/v1/ports/h1", r#"{"learning": false}"#, 404),
            ("POST", "/v1/fdb", r#"{"domain": "lan", "mac": "02:00:00:00:00:08", "port": "h1"}"#, 404),
            ("POST", "/v1/fdb", r#"{"domain": "wan", "mac": "02:00:00:00:00:08", "port": "h1"}"#, 404),
            ("POST", "/v1/fdb", r#"{"domain": "lan", "mac": "03:00:00:00:00:08", "port": "h1"}"#, 400),
            ("POST", "/v1/fdb", r#"{"domain": "lan", "mac": "02:00:00:00:00:08", "port": "h1", "vlan": 4095}"#, 400),
            ("POST", "/v1/fdb", r#"{"domain": "lan"}"#, 400),
            ("POST", "/v1/fdb/flush", r#"{"domain": "wan"}"#, 404),
            ("POST", "/v1/fdb/flush", r#"{"vlan": 0}"#, 400),
            ("POST", "/v1/fdb/flush", r#"{"mac": "x"}"#, 400),
            ("DELETE", "/v1/fdb/lan/02:00:00:00:00:08", "", 404),
            ("DELETE", "/v1/fdb/lan/02:00:00:00:00:09/10", "", 404),
            ("DELETE", "/v1/fdb/lan/02:00:00:00:00:09/x", "", 400),
            ("PUT", "/v1/fdb/lan/02:00:00:00:00:09", "", 405),
        ];
        for (method, path, body, expected) in refused {
            let (status, answer) = ask(&service, method, path, body);
            assert_eq!(status, expected, "{method} {path} {body}: {answer}");
            assert!(answer["error"].is_string() && answer["hint"].is_string(), "{method} {path}: {answer}");
        }
        assert_eq!(ask(&service, "GET", "/v1/fdb", "").1, waiting, "nothing of that changed anything");
        assert_eq!(ask(&service, "POST", "/v1/fdb/flush", "{}").0, 204);
        assert_eq!(ask(&service, "GET", "/v1/fdb", "").1, waiting, "a flush takes no static entry");
        assert_eq!(ask(&service, "DELETE", "/v1/fdb/lan/02:00:00:00:00:09", "").0, 204);
        assert_eq!(ask(&service, "GET", "/v1/fdb", "").1, json!([]));
    }

    #[test]
    fn wrong_requests_get_a_status_an_error_and_a_hint() {
        let service = service();
        let wrong = [
            ("GET", "/", "", 404),
            ("GET", "/v1/nothing", "", 404),
            ("DELETE", "/v1/ports", "", 405),
            ("PUT", "/v1/fdb", "", 405),
            ("GET", "/v1/reload", "", 405),
            ("POST", "/v1/reload", "", 409),
            ("GET", "/v1/ports/h1", "", 404),
            ("PUT", "/v1/ports/h1", "", 405),
            ("POST", "/v1/ports", "{", 400),
            ("POST", "/v1/ports", "[]", 400),
            ("POST", "/v1/ports", r#"{"name": "h1", "domain": "lan", "mtuu": 1}"#, 400),
            ("POST", "/v1/ports", r#"{"name": "h1", "domain": "lan"}"#, 404),
            ("DELETE", "/v1/ports/h1", "", 404),
        ];
        for (method, path, body, expected) in wrong {
            let (status, answer) = ask(&service, method, path, body);
            assert_eq!(status, expected, "{method} {path} {body}");
            assert!(answer["error"].is_string() && answer["hint"].is_string(), "{method} {path}: {answer}");
        }
    }

    #[test]
    fn every_drop_reason_has_a_count_and_a_meaning() {
        let (status, drops) = ask(&service(), "GET", "/v1/drops", "");
        assert_eq!(status, 200);
        assert!(drops.as_object().unwrap().values().all(|drop| drop["count"] == 0 && drop["meaning"].is_string()));
        assert!(drops["tx_full"].is_object());
    }
}
