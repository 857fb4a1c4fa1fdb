//! Texts and the sinks that they mean.

use super::*;

#[test]
fn every_kind_has_its_defaults() {
    let spec = Spec::parse("stdout").expect("a sink");
    assert_eq!(
        (spec.name.as_str(), spec.target),
        ("stdout", Target::Stdout(Format::Json))
    );
    let Ok(Target::Files(files)) = Spec::parse("file:/var/log/pods").map(|spec| spec.target) else {
        panic!("no files")
    };
    assert_eq!((files.max_bytes, files.max_files), (10 << 20, 5));
    let Ok(Target::Syslog(syslog)) = Spec::parse("syslog+tls://logs.example").map(|spec| spec.target) else {
        panic!("no syslog")
    };
    assert_eq!((syslog.server.port, syslog.facility), (6514, 16));
    assert_eq!(syslog.server.tls, Some(Tls::default()));
    let Ok(Target::Otlp(otlp)) = Spec::parse("otlp+http://[::1]").map(|spec| spec.target) else {
        panic!("no OTLP")
    };
    assert_eq!((otlp.server.host.as_str(), otlp.server.port), ("::1", 4318));
    assert_eq!(otlp.path, "/v1/logs");
}

#[test]
fn options_are_read() {
    let text = "loki+https://logs.example:3101/push,name=back-end,gzip=yes,tenant=a,label.cluster=b,ca=/ca.pem,\
                batch-bytes=1Mi,batch-wait=250ms,metadata=yes,bearer-file=/token,timeout=1m";
    let spec = Spec::parse(text).expect("a sink");
    assert_eq!((spec.name.as_str(), spec.batch_bytes), ("back-end", 1 << 20));
    assert_eq!(spec.batch_wait, Duration::from_millis(250));
    let Target::Loki(loki) = spec.target else {
        panic!("no Loki")
    };
    assert_eq!(loki.labels, [("cluster".to_owned(), "b".to_owned())]);
    assert!(loki.metadata && loki.endpoint.gzip);
    assert_eq!(
        loki.endpoint.headers,
        [("X-Scope-OrgID".to_owned(), "a".to_owned())]
    );
    assert_eq!(loki.endpoint.timeout, Duration::from_secs(60));
}

#[test]
fn mistakes_say_what_to_do() {
    for (text, wanted) in [
        ("kafka://x", "`kafka` is not a kind of sink; there are stdout"),
        ("stdout:x", "stdout has no `x`"),
        (
            "stdout,format=xml",
            "format: `xml` is not one of: text, json, cri",
        ),
        ("file:", "the directory is missing"),
        (
            "file:/x,max-size=1",
            "max-size: `1` is not a number of bytes from 65536",
        ),
        (
            "syslog+tcp:host",
            "`syslog+tcp:host` is not syslog+tcp://HOST:PORT",
        ),
        ("syslog+tcp://host:port", "is not syslog+tcp://HOST:PORT"),
        ("syslog+tcp://host/path", "a syslog server has no path"),
        (
            "syslog+tcp://host,ca=/x",
            "`ca` is not an option of syslog+tcp; it has: name, facility",
        ),
        ("otlp+http://h,gzip=maybe", "gzip: `maybe` is neither yes nor no"),
        ("otlp+http://h,gzip=yes,gzip=yes", "gzip is given twice"),
        (
            "otlp+http://h,batch-wait=soon",
            "batch-wait: `soon` is not a time",
        ),
        ("otlp+http://h,gzip", "`gzip` is not OPTION=VALUE"),
        ("otlp+http://h,header.a b=c", "`a b` is no header"),
        ("stdout,name=../x", "name: `../x` is not a name"),
    ] {
        let mistake = Spec::parse(text).expect_err(text);
        assert!(mistake.contains(wanted), "{text}: {mistake}");
    }
}
