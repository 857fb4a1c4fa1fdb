//! Termination messages (section J of the cases).

use serde_json::json;

use super::script::{end_of, start};

const LOG: &str = "/dev/termination-log";

fn fallback() -> serde_json::Value {
    json!({"terminationMessagePolicy": "FallbackToLogsOnError"})
}

#[test]
fn lc_170_what_is_written_to_the_termination_log_is_the_message() {
    let write = format!("write {LOG} DONE");
    let Some(ended) = end_of(&[&write], &json!({})) else {
        return;
    };
    assert_eq!(ended, (0, Some("DONE".to_owned())));
}

#[test]
fn lc_170_any_path_and_any_user_will_do() {
    let fields = json!({
        "terminationMessagePath": "/somewhere/else/message",
        "securityContext": {"runAsUser": 1000, "readOnlyRootFilesystem": true},
    });
    let Some(ended) = end_of(&["write /somewhere/else/message DONE", "exit 3"], &fields) else {
        return;
    };
    assert_eq!(ended, (3, Some("DONE".to_owned())));
}

#[test]
fn lc_172_the_log_is_the_message_of_a_failure() {
    let Some(ended) = end_of(&["print DONE", "exit 1"], &fallback()) else {
        return;
    };
    assert_eq!(ended, (1, Some("DONE".to_owned())));
    let (_, message) = end_of(&["times 200 line", "exit 1"], &fallback()).expect("a product");
    let message = message.expect("a message");
    assert_eq!(message.lines().next(), Some("line 120"), "the last 80 lines");
    assert_eq!(message.lines().last(), Some("line 199"));
}

#[test]
fn lc_173_success_needs_no_message() {
    let Some(ended) = end_of(&["print DONE", "exit 0"], &fallback()) else {
        return;
    };
    assert_eq!(ended, (0, None));
}

#[test]
fn lc_174_a_file_wins_over_the_log() {
    let write = format!("write {LOG} OK");
    for code in [0, 1] {
        let exit = format!("exit {code}");
        let Some(ended) = end_of(&[&write, "print DONE", &exit], &fallback()) else {
            return;
        };
        assert_eq!(ended, (code, Some("OK".to_owned())));
    }
}

#[test]
fn a_message_is_the_end_of_its_file_and_shares_what_all_may_have() {
    let text = "0123456789".repeat(1000);
    let write = format!("write {LOG} {text}");
    let Some((_, message)) = end_of(&[&write], &json!({})) else {
        return;
    };
    // K-332.
    assert_eq!(message.as_deref(), Some(&text[text.len() - 4096..]));
    // K-335: 12288 bytes among six containers.
    let app = super::script::container("app", &[&write], &json!({}));
    let others = (0..5).map(|number| tests::guest(&format!("keep-{number}"), &["sleep"]));
    let containers: Vec<_> = std::iter::once(app).chain(others).collect();
    let up = start(&json!({"containers": containers}), &[]).expect("a product");
    let status = up.wait_container("app", "ended", super::script::has_ended);
    let message = match status.state {
        manifest_sync::status::ContainerState::Terminated { message, .. } => message,
        other => panic!("{other:?}"),
    };
    assert_eq!(message.as_deref(), Some(&text[text.len() - 4096..][..2048]));
}
