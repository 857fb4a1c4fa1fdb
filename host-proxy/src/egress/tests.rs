use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use super::*;

fn target(host: &str, port: u16) -> EgressTarget {
    let host = match host.parse() {
        Ok(address) => EgressHost::Address(address),
        Err(_) => EgressHost::Name(host.to_owned()),
    };
    EgressTarget { host, port }
}

fn options(allow: &[&str], local: &[&str], resolve: &[&str]) -> EgressOptions {
    EgressOptions {
        allow: allow.iter().map(|text| text.parse().expect("one")).collect(),
        local: local.iter().map(|text| text.parse().expect("one")).collect(),
        resolve: resolve.iter().map(|text| text.parse().expect("one")).collect(),
    }
}

#[test]
fn the_list_has_names_patterns_and_networks_with_and_without_ports() {
    let all = options(&[], &[], &[]);
    assert!(all.allows(&target("anything.example", 1)) && all.allows(&target("10.0.0.1", 1)));
    let none = options(&["none"], &[], &[]);
    assert!(!none.allows(&target("a.example", 443)));
    let some = options(
        &[
            "a.example:443",
            "*.b.example",
            "10.0.0.0/8:5432",
            "[2001:db8::/32]:1",
            "192.0.2.0/24",
        ],
        &[],
        &[],
    );
    for (host, port, allowed) in [
        ("a.example", 443, true),
        ("a.example", 80, false),
        ("x.b.example", 9, true),
        ("b.example", 9, false),
        ("10.1.1.1", 5432, true),
        ("10.1.1.1", 5433, false),
        ("2001:db8::7", 1, true),
        ("2001:db8::7", 2, false),
        ("192.0.2.9", 7, true),
        ("198.51.100.1", 7, false),
    ] {
        assert_eq!(some.allows(&target(host, port)), allowed, "{host} {port}");
    }
    for bad in ["a b", "a:0", "a:x", "http://a", "10.0.0.0/40", "*.*"] {
        assert!(bad.parse::<Allow>().is_err() || bad == "*.*", "{bad}");
    }
    for bad in ["a:1", "a:0:10.0.0.1", "10.0.0.1:1:10.0.0.2", "a:1:b"] {
        assert!(bad.parse::<Resolve>().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_not_dialled() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let resolve = format!("rebound.example:{port}:127.0.0.1");
    let name = target("rebound.example", port);
    let kept = Egress::new(options(&[], &[], &[&resolve]), Room::default());
    assert_eq!(
        kept.connect(&name).await.expect_err("kept"),
        EgressReply::Forbidden
    );
    for address in [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
    ] {
        let refused = kept.connect(&target(address, port)).await;
        assert_eq!(refused.expect_err("kept"), EgressReply::Forbidden, "{address}");
    }
    let told = Egress::new(options(&[], &["127.0.0.0/8"], &[&resolve]), Room::default());
    told.connect(&name).await.expect("told to");
    let walled = Egress::new(
        options(&["other.example"], &["127.0.0.0/8"], &[&resolve]),
        Room::default(),
    );
    assert_eq!(
        walled.connect(&name).await.expect_err("walled"),
        EgressReply::NotAllowed
    );
    // One good address among bad ones is the one that is dialled.
    let both = [
        resolve.as_str(),
        &format!("rebound.example:{port}:169.254.169.254"),
    ];
    let mixed = Egress::new(options(&[], &["127.0.0.1"], &both), Room::default());
    let stream = mixed.connect(&name).await.expect("the permitted one");
    assert_eq!(
        stream.peer_addr().expect("connected").ip(),
        IpAddr::from([127, 0, 0, 1])
    );
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_no_such_name() {
    let egress = Egress::new(options(&[], &[], &[]), Room::default());
    let unknown = egress.connect(&target("no-such-name.invalid", 80)).await;
    assert_eq!(unknown.expect_err("RFC 2606"), EgressReply::NoSuchName);
}
