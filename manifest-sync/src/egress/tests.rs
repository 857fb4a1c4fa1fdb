use super::*;

fn pattern(text: &str) -> NameSelector {
    NameSelector::pattern(text).expect("a pattern")
}

/// The examples of Cilium's documentation, and the edges between them.
#[test]
fn patterns_mean_what_they_mean_to_cilium() {
    let cases: [(&str, &[&str], &[&str]); 7] = [
        (
            "*.cilium.io",
            &["sub.cilium.io", "a-b_c.cilium.io", "0.cilium.io"],
            &["cilium.io", "a.b.cilium.io", "cilium.io.evil.org", "xcilium.io"],
        ),
        (
            "*cilium.io",
            &["cilium.io", "xcilium.io"],
            &["sub.cilium.io", "cilium.iox"],
        ),
        (
            "sub*.cilium.io",
            &["sub.cilium.io", "subdomain.cilium.io"],
            &["blog.cilium.io", "sub.x.cilium.io"],
        ),
        (
            "**.cilium.io",
            &["a.cilium.io", "a.b.cilium.io"],
            &["cilium.io", "xcilium.io"],
        ),
        (
            "a*b*c.x",
            &["abc.x", "a1b2c.x", "abbbc.x", "abcbc.x"],
            &["ab.x", "a.bc.x", "abcd.x"],
        ),
        ("*", &["anything", "a.b.c"], &[]),
        ("*.*.x", &["a.b.x"], &["a.x", "a.b.c.x"]),
    ];
    for (text, inside, outside) in cases {
        let selector = pattern(text);
        for name in inside {
            assert!(selector.matches(name), "{text} covers {name}");
        }
        for name in outside {
            assert!(!selector.matches(name), "{text} does not cover {name}");
        }
    }
}

#[test]
fn names_are_compared_without_case_and_final_dot() {
    let selector = NameSelector::name("API.Example.com.").expect("a name");
    assert!(selector.matches(&normalize("api.EXAMPLE.com")));
    assert!(!selector.matches("xapi.example.com"));
}

#[test]
fn addresses_and_nonsense_are_no_names() {
    for bad in [
        "",
        ".",
        "a..b",
        "127.0.0.1",
        "127.1",
        "a.0x7f",
        "::1",
        "a b.c",
        "a/b",
        "ä.de",
        "a\u{0}b",
    ] {
        assert_eq!(NameSelector::name(bad), None, "{bad:?}");
    }
    assert_eq!(NameSelector::name(&"a.".repeat(128)), None, "too long");
    assert_eq!(NameSelector::name(&"a".repeat(64)), None, "a label too long");
    for bad in ["a.**.b", "a**", "**", "*.", "..*", "*.1"] {
        assert_eq!(NameSelector::pattern(bad), None, "{bad:?}");
    }
}

#[test]
fn networks_hold_what_their_prefix_says() {
    let network = |text: &str| text.parse::<Network>().expect("a network");
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    assert!(network("10.0.0.0/8").contains(address("10.255.0.1")));
    assert!(!network("10.0.0.0/8").contains(address("11.0.0.0")));
    assert!(!network("10.0.0.0/8").contains(address("::ffff:10.0.0.1")));
    assert!(network("0.0.0.0/0").contains(address("255.255.255.255")));
    assert!(network("10.0.0.1").contains(address("10.0.0.1")));
    assert!(!network("10.0.0.1/32").contains(address("10.0.0.2")));
    assert!(network("2001:db8::/32").contains(address("2001:db8:1::")));
    assert!(!network("::/0").contains(address("10.0.0.1")));
    assert!(network("127.0.0.0/8").is_loopback() && !network("0.0.0.0/0").is_loopback());
    for bad in ["10.0.0.0/33", "10.0.0/8", "::/129", "x", "10.0.0.0/", "/8"] {
        assert!(bad.parse::<Network>().is_err(), "{bad}");
    }
    let error = "10.1.2.3/8".parse::<Network>().expect_err("host bits");
    assert!(error.contains("write 10.0.0.0/8"), "{error}");
}

#[test]
fn a_destination_needs_a_rule_that_has_both_its_name_and_its_port() {
    let rule = |names: &[&str], networks: &[&str], ports: &[u16]| EgressRule {
        names: names.iter().map(|text| pattern(text)).collect(),
        networks: networks.iter().map(|text| text.parse().expect("one")).collect(),
        ports: ports.iter().copied().collect(),
    };
    let policy = EgressPolicy {
        rules: vec![
            rule(&["*.a.org"], &[], &[443]),
            rule(&["x.a.org"], &[], &[80]),
            rule(&[], &["10.0.0.0/8"], &[5432]),
        ],
    };
    assert_eq!(policy.ports_of_name("x.a.org"), BTreeSet::from([80, 443]));
    assert_eq!(policy.ports_of_name("y.a.org"), BTreeSet::from([443]));
    assert!(!policy.allows_name("y.a.org", 80) && !policy.allows_name("a.org", 443));
    let inside = IpAddr::from([10, 1, 2, 3]);
    assert!(policy.allows_address(inside, 5432) && !policy.allows_address(inside, 443));
    assert_eq!(policy.network_ports(), BTreeSet::from([5432]));
}
