//! Messages as RFC 5424 wants them.

use super::*;
use crate::sink::item::Cause;
use crate::sink::spec::{Server, Spec, Target};

fn origin() -> Origin {
    Origin {
        boot: "ab".repeat(16),
        namespace: "shop".to_owned(),
        pod: "web".to_owned(),
        uid: "u-1".to_owned(),
    }
}

fn options() -> Syslog {
    let Ok(Target::Syslog(syslog)) = Spec::parse("syslog+tcp://h,max-message=480").map(|spec| spec.target)
    else {
        panic!("no syslog")
    };
    assert_eq!(
        syslog.server,
        Server {
            host: "h".to_owned(),
            port: 601,
            tls: None
        }
    );
    syslog
}

fn item(bytes: Vec<u8>) -> Item {
    let run = LogRun {
        sequence: 7,
        time_ns: 1_795_230_280_042_000_000,
        container: "app".into(),
        attempt: 2,
        stream: LogStream::Stderr,
        partial: false,
        records: 1,
        text: bytes.into(),
    };
    Item::new(1, manifest_sync::log_record::Entry::Run(run))
}

fn text(item: &Item) -> String {
    let mut out = Vec::new();
    frames(item, &origin(), &options(), &mut out, |_, _, _| {});
    String::from_utf8(out).expect("text")
}

const HEAD: &str = "<131>1 2026-11-21T03:04:40.042000Z web app 2 stderr [cloister@32473 namespace=\"shop\" \
                    pod=\"web\" uid=\"u-1\" container=\"app\" stream=\"stderr\" sequence=\"7\"";

#[test]
fn a_record_is_one_message() {
    let message = format!("{HEAD}] hello");
    assert_eq!(
        text(&item(b"hello".to_vec())),
        format!("{} {message}", message.len())
    );
    let mut again = item(b"hello".to_vec());
    again.resent = true;
    assert!(text(&again).ends_with(&format!("{HEAD} resent=\"1\"] hello")));
}

#[test]
fn a_long_record_is_several_messages_of_one_sequence() {
    let all = text(&item(vec![b'x'; 1000]));
    let mut rest = all.as_str();
    let mut texts = String::new();
    let mut parts = 0;
    while !rest.is_empty() {
        let (length, after) = rest.split_once(' ').expect("a length");
        let length: usize = length.parse().expect("a length");
        assert!(length <= 480, "{length}");
        let (message, next) = after.split_at(length);
        assert!(message.contains("sequence=\"7\""), "{message}");
        assert!(message.contains(&format!("part=\"{parts}\"")), "{message}");
        assert_eq!(message.contains("partial"), !next.is_empty(), "{message}");
        texts.push_str(message.rsplit_once("] ").expect("a text").1);
        rest = next;
        parts += 1;
    }
    assert_eq!(texts, "x".repeat(1000));
}

#[test]
fn a_notice_names_the_container() {
    let notice = Notice {
        container: Some("app".to_owned()),
        records: 3,
        cause: Cause::Spool,
        time_ns: 0,
    };
    let item = Item {
        index: 1,
        next: 2,
        resent: false,
        body: Body::Notice(notice),
    };
    assert!(text(&item).contains("dropped=\"3\" by=\"spool\" container=\"app\"] 3 records of container app"));
}
