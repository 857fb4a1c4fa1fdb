//! Who the process is: user and groups from the plan and the container's own files (K-411, K-412), then the change
//! itself. The files belong to the image: they are read with a bound and never trusted for more than this container.

use std::io::Read as _;
use std::str::FromStr;

use caps::{CapSet, CapsHashSet};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::capability;
use super::report::{Failure, Stage, StageExt as _};
use super::spec::UserSpec;

/// Most that is read of /etc/passwd and /etc/group.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A resolved identity.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Home directory from passwd, or `/`.
    pub(crate) home: String,
}

/// One line of passwd(5): name, uid, gid, home.
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Resolves the user in /etc/passwd and /etc/group of the root we are in.
pub(crate) fn resolve(user: &UserSpec) -> Result<Identity, Failure> {
    let read = |path| {
        let mut text = Vec::new();
        if let Ok(file) = std::fs::File::open(path) {
            let _ = file.take(MAX_FILE_BYTES).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    };
    resolve_in(user, &read("/etc/passwd"), &read("/etc/group"))
        .map_err(|message| Failure::said(Stage::User, message))
}

fn resolve_in(user: &UserSpec, passwd: &str, group: &str) -> Result<Identity, String> {
    let (image_user, image_group) = user.image_user.split_once(':').unwrap_or((&user.image_user, ""));
    let uid = match user.run_as_user {
        Some(uid) => Ok(uid),
        None if image_user.is_empty() => Ok(0),
        None => image_user.parse(),
    };
    let entry = users(passwd).find(|entry| match &uid {
        Ok(uid) => entry.uid == *uid,
        Err(_) => entry.name == image_user,
    });
    let uid = match (uid, &entry) {
        (Ok(uid), _) => uid,
        (Err(_), Some(entry)) => entry.uid,
        (Err(_), None) => {
            return Err(format!(
                "unable to find user {image_user}: no matching entries in passwd file"
            ));
        }
    };
    let gid = match user.run_as_group {
        Some(gid) => gid,
        // The image's group goes with the image's user only.
        None if user.run_as_user.is_none() && !image_group.is_empty() => group_id(image_group, group)?,
        None => entry.as_ref().map_or(0, |entry| entry.gid),
    };
    // The primary group is one of them, too: who gives it up shall not lose what files deny it (CVE-2022-36109).
    let mut all = vec![gid];
    all.extend(&user.supplemental_groups);
    if let Some(entry) = entry.as_ref().filter(|_| !user.strict_groups) {
        all.extend(groups_of(entry.name, group));
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|group| seen.insert(*group));
    let home = entry.map_or("/", |entry| entry.home);
    Ok(Identity {
        uid,
        gid,
        groups: all,
        home: if home.is_empty() { "/" } else { home }.to_owned(),
    })
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1)?;
        Some(User { name, uid, gid, home })
    })
}

fn group_id(name: &str, group: &str) -> Result<u32, String> {
    u32::from_str(name).or_else(|_| {
        group
            .lines()
            .find_map(|line| {
                let mut fields = line.split(':');
                if fields.next()? != name {
                    return None;
                }
                fields.nth(1)?.parse().ok()
            })
            .ok_or_else(|| format!("unable to find group {name}: no matching entries in group file"))
    })
}

fn groups_of<'a>(user: &'a str, group: &'a str) -> impl Iterator<Item = u32> + 'a {
    group.lines().filter_map(move |line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members] = fields.as_slice() else {
            return None;
        };
        members
            .split(',')
            .any(|member| member == user)
            .then(|| gid.parse().ok())?
    })
}

/// Becomes the identity with these capabilities (by name).
pub(crate) fn apply(identity: &Identity, names: &[String]) -> Result<(), Failure> {
    let keep = names
        .iter()
        .map(|name| capability::parse(name))
        .collect::<Result<CapsHashSet, _>>()
        .map_err(|message| Failure::said(Stage::Capabilities, message))?;
    // While we still have CAP_SETPCAP. What the kernel does not know, nobody can have.
    for dropped in caps::all()
        .into_iter()
        .filter(|capability| !keep.contains(capability))
    {
        if caps::has_cap(None, CapSet::Bounding, dropped).unwrap_or(false) {
            set(caps::drop(None, CapSet::Bounding, dropped))?;
        }
    }
    own_outputs(identity)?;
    set_groups(identity)?;
    let gid = Gid::from_raw(identity.gid);
    setresgid(gid, gid, gid).at(Stage::Identity, &format!("group {}", identity.gid))?;
    let uid = Uid::from_raw(identity.uid);
    setresuid(uid, uid, uid).at(Stage::Identity, &format!("user {}", identity.uid))?;
    // K-416: another user than root has none after exec, so there is nothing left to set.
    if identity.uid == 0 {
        let had = caps::read(None, CapSet::Permitted).unwrap_or_default();
        let keep: CapsHashSet = keep.intersection(&had).copied().collect();
        set(caps::clear(None, CapSet::Ambient))?;
        set(caps::clear(None, CapSet::Inheritable))?;
        set(caps::set(None, CapSet::Effective, &keep))?;
        set(caps::set(None, CapSet::Permitted, &keep))?;
    }
    Ok(())
}

fn set(result: Result<(), caps::errors::CapsError>) -> Result<(), Failure> {
    result.map_err(|error| Failure::said(Stage::Capabilities, error.to_string()))
}

/// A program that opens /dev/stdout opens the pipe anew, which needs ownership.
fn own_outputs(identity: &Identity) -> Result<(), Failure> {
    use std::os::fd::AsFd as _;
    if identity.uid == 0 {
        return Ok(());
    }
    let (uid, gid) = (
        Some(Uid::from_raw(identity.uid)),
        Some(Gid::from_raw(identity.gid)),
    );
    for output in [std::io::stdout().as_fd(), std::io::stderr().as_fd()] {
        nix::unistd::fchown(output, uid, gid).at(Stage::Identity, "owner of the outputs")?;
    }
    Ok(())
}

/// A user namespace made without privileges forbids setgroups(2); to have no group but the own one is then no loss.
fn set_groups(identity: &Identity) -> Result<(), Failure> {
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match setgroups(&groups) {
        Err(Errno::EPERM) if identity.groups == [identity.gid] => Ok(()),
        other => other.at(Stage::Identity, "supplementary groups"),
    }
}

#[cfg(test)]
fn spec(image_user: &str) -> UserSpec {
    UserSpec {
        image_user: image_user.to_owned(),
        ..UserSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nredis:x:999:998::/data:/bin/false\n";
    const GROUP: &str = "root:x:0:\nredis:x:998:\nlog:x:50:redis,other\n";

    fn ids(user: &UserSpec) -> Result<(u32, u32, Vec<u32>, String), String> {
        resolve_in(user, PASSWD, GROUP).map(|id| (id.uid, id.gid, id.groups, id.home))
    }

    #[test]
    fn users_are_found_in_the_containers_own_files() {
        assert_eq!(ids(&spec("")), Ok((0, 0, vec![0], "/root".into())));
        assert_eq!(ids(&spec("redis")), Ok((999, 998, vec![998, 50], "/data".into())));
        assert_eq!(ids(&spec("999")), Ok((999, 998, vec![998, 50], "/data".into())));
        assert_eq!(ids(&spec("1234:log")), Ok((1234, 50, vec![50], "/".into())));
        assert!(ids(&spec("nobody")).is_err_and(|error| error.contains("nobody")));
        assert!(ids(&spec("redis:nogroup")).is_err_and(|error| error.contains("nogroup")));
        let user = UserSpec {
            run_as_user: Some(7),
            supplemental_groups: vec![5, 5],
            ..spec("redis:log")
        };
        assert_eq!(ids(&user), Ok((7, 0, vec![0, 5], "/".into())));
    }

    #[test]
    fn strict_groups_are_those_of_the_plan_alone() {
        let user = |strict_groups| UserSpec {
            strict_groups,
            supplemental_groups: vec![60],
            ..spec("redis")
        };
        assert_eq!(ids(&user(false)).map(|ids| ids.2), Ok(vec![998, 60, 50]));
        assert_eq!(ids(&user(true)).map(|ids| ids.2), Ok(vec![998, 60]));
    }
}
