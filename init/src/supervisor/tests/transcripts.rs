//! Transcripts: text files of virtual time, each a test of its own. `@2s > exited app code=1` is an event, an indented
//! `< spawn app` is an action that must follow, in order. `UPDATE_TRANSCRIPTS=1` writes what happens instead of comparing.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::script::replay;

/// One test for each file of `testdata/transcripts`, by its name; in alphabetical order.
macro_rules! transcripts {
    ($($name:ident,)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*
    };
}

transcripts! {
    backoff_reset,
    evicted,
    image_backoff,
    image_of_a_stopped_container_under_never,
    image_that_is_there_already,
    init_container_stopped,
    initialized_by_no_lost_container,
    lc_001_always_restarts_after_failure_and_success,
    lc_002_on_failure_ends_with_success,
    lc_004_never_terminated_has_a_reason,
    lc_005_stop_while_failed,
    lc_006_crash_loop_backs_off,
    lc_008_rule_match_restarts,
    lc_009_rule_mismatch_does_not,
    lc_010_container_policy_wins,
    lc_012_pod_policy_applies_without_one,
    lc_013_not_in,
    lc_013_not_in_at_once,
    lc_016_all_done_under_never,
    lc_016_nothing_more_when_all_are_done,
    lc_017_killed_has_137,
    lc_018_config_error_is_not_an_exit,
    lc_020_all_restart_on_the_exit_of_a_container,
    lc_021_all_restart_on_the_exit_of_a_sidecar,
    lc_022_all_restart_on_the_exit_of_an_init_container,
    lc_024_all_restart_after_a_restart,
    lc_025_no_hooks_and_two_seconds_while_all_restart,
    lc_030_init_containers_of_a_never_pod,
    lc_032_failing_init_container_of_an_always_pod,
    lc_033_failing_init_container_of_a_never_pod,
    lc_034_init_containers_one_after_another,
    lc_036_init_container_before_post_start,
    lc_037_missing_image_of_an_init_container,
    lc_038_init_containers_run_once,
    lc_040_image_of_a_finished_init_container,
    lc_041_image_of_a_running_init_container,
    lc_042_image_of_an_init_container_while_the_pod_ends,
    lc_044_init_container_out_of_memory,
    lc_050_sidecars_among_init_containers,
    lc_052_sidecar_of_an_always_pod,
    lc_053_missing_image_of_a_sidecar,
    lc_054_sidecar_that_always_ends,
    lc_056_init_container_before_a_sidecar_fails,
    lc_057_init_container_before_a_sidecar_fails_again_and_again,
    lc_058_init_container_after_a_sidecar_fails,
    lc_060_startup_probe_gates_the_next_container,
    lc_061_startup_probe_of_a_sidecar_fails,
    lc_062_liveness_probe_of_a_sidecar_fails,
    lc_064_image_of_a_sidecar_while_another_initialises,
    lc_065_image_of_a_sidecar_that_starts_later,
    lc_065_image_of_a_sidecar_whose_startup_probe_fails,
    lc_066_image_of_a_sidecar_whose_liveness_probe_fails,
    lc_070_respects_the_grace_period,
    lc_072_sidecars_end_in_reverse_order,
    lc_073_endless_pre_stop,
    lc_073_sidecars_are_signalled_when_the_grace_is_over,
    lc_074_pre_stop_of_all_at_once,
    lc_076_stop_with_a_sidecar_that_has_not_started,
    lc_077_exit_code_of_a_sidecar_does_not_count,
    lc_078_failing_pre_stop_of_a_sidecar_does_not_show,
    lc_080_sidecar_exceeds_the_grace_period,
    lc_081_pre_stop_of_a_container_exceeds_the_grace_period,
    lc_082_pre_stop_of_a_sidecar_exceeds_the_grace_period,
    lc_084_image_while_the_pod_ends,
    lc_089_no_liveness_of_a_sidecar_while_another_is_in_its_pre_stop,
    lc_090_the_whole_grace_period_before_the_replacement,
    lc_092_a_later_stop_shortens,
    lc_100_restarts_back_off,
    lc_101_a_shorter_longest_delay,
    lc_102_the_shortest_longest_delay,
    lc_104_back_off_starts_afresh_with_another_image,
    lc_105_the_longest_delay,
    lc_106_what_a_crash_loop_looks_like,
    lc_108_liveness_kills_and_back_off,
    lc_109_image_pull_backs_off,
    lc_116_shorter_grace_while_pre_stop_runs,
    lc_117_no_pre_stop_for_an_exit,
    lc_118_pre_stop_of_zero_seconds,
    lc_120_endless_pre_stop,
    lc_121_post_start_holds_the_next_container_back,
    lc_122_pre_stop_after_a_failed_startup_probe,
    lc_122_startup_probe_fails_under_never,
    lc_124_exit_while_post_start_runs,
    lc_124_post_start_fails,
    lc_125_pre_stop_fails,
    lc_130_readiness_waits_for_its_delay,
    lc_136_liveness_failures_restart,
    lc_142_probe_warning,
    lc_144_startup_probe_delays_liveness,
    lc_145_startup_probe_enables_liveness,
    lc_146_ready_at_once_after_startup,
    lc_148_grace_of_the_probe,
    lc_150_readiness_while_stopping,
    lc_152_readiness_while_pre_stop_runs,
    lc_153_run_of_answers_survives_a_restart,
    lc_154_probe_that_cannot_be_carried_out,
    lc_156_liveness_of_one_of_two,
    lc_156_liveness_of_the_last_container,
    lc_157_another_instance_starts_from_nothing,
    lc_162_volumes_that_cannot_be_set_up,
    lc_168_mixed_results_under_never,
    lc_168_mixed_results_under_on_failure,
    lc_169_statuses_are_sorted,
    lc_226_volumes_are_set_up_before_anything_else,
    lc_264_resize_without_restart,
    lc_266_resize_with_restart,
    lc_268_resize_of_an_init_container,
    lc_280_image_of_one_of_two,
    lc_280_image_of_the_only_container_of_a_never_pod,
    lc_281_image_during_initialisation,
    lc_282_image_after_a_failed_liveness_probe,
    lc_282_image_in_image_pull_back_off,
    lc_284_deadline,
    lc_284_deadline_with_kill,
    lc_285_another_label_restarts_nothing,
    lc_286_ephemeral_container_during_initialisation,
    lc_286_ephemeral_containers,
    liveness_restart_waits_for_no_sidecar,
    mixed_results,
    oom_killed,
    probe_that_does_not_answer,
    resize_that_fails_is_tried_again,
    resize_that_is_infeasible,
    restart_all_and_a_stop,
    restart_all_and_a_stop_in_its_back_off,
    restart_all_backs_off,
    restart_all_forgets_what_failed,
    restart_all_holds_for_hooks,
    service_crash,
    sidecar_down_holds_a_restart_back,
    sidecar_is_not_restarted_while_the_pod_ends,
    start_error,
    stop_all_at_once,
    stop_in_backoff,
    stop_minimum_grace,
    stop_twice,
    stop_while_post_start_runs,
    stop_with_grace_zero_runs_pre_stop,
    stop_without_pod_after_failure,
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/transcripts")
}

fn check(name: &str) {
    let path = directory().join(name).with_extension("txt");
    let expected = std::fs::read_to_string(&path).expect("readable");
    let got = replay(&expected);
    if got == expected {
        return;
    }
    if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
        std::fs::write(&path, got).expect("writable");
    } else {
        let different = got
            .lines()
            .zip(expected.lines())
            .position(|(got, expected)| got != expected);
        let line = different.map_or(0, |line| line + 1);
        panic!(
            "{} differs from what happens, in line {line}:\n{got}",
            path.display()
        );
    }
}

#[test]
fn every_transcript_is_a_test() {
    let files = std::fs::read_dir(directory()).expect("transcripts");
    let files: BTreeSet<String> = files
        .map(|entry| entry.expect("entry").path())
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    let names: BTreeSet<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(files, names);
}
