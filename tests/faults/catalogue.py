"""Faults, what is expected of foldwise, and the tests that cause them for real.

`make faults` runs these tests and writes docs/reliability.md from what it saw.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A row of the table. Tests are `file::test`, below tests/."""

    fault: str
    expected: str
    tests: tuple[str, ...]


def fault(fault: str, expected: str, *tests: str) -> Fault:
    """A row."""
    return Fault(fault, expected, tests)


# --- data -------------------------------------------------------------------------------------

DATA = (
    fault(
        "a truncated download, with and without Content-Length",
        "an error, tried again; the checksum catches the second",
        "datasets/test_transfer.py::test_truncated_is_tried_again",
        "datasets/test_transfer.py::test_always_truncated_ends",
    ),
    fault(
        "a wrong checksum",
        "the temporary file is removed, both hashes are shown",
        "datasets/test_transfer.py::test_wrong_checksum_shows_both_and_is_not_tried_again",
    ),
    fault(
        "a damaged file that was downloaded before",
        "said, downloaded again",
        "datasets/test_download.py::test_corrupt_file_is_said_and_fetched_again",
    ),
    fault(
        "404",
        "fails at once, names the address and the mirror",
        "datasets/test_transfer.py::test_lasting_refusal_fails_at_once",
        "datasets/test_download.py::test_synthetic_warning_lists_what_was_tried_and_what_to_do",
    ),
    fault(
        "500 or 503, then the file",
        "bounded backoff; Retry-After is honoured",
        "datasets/test_transfer.py::test_passing_error_then_ok",
        "datasets/test_transfer.py::test_passing_error_that_stays_ends",
        "datasets/test_transfer.py::test_retry_after_is_honoured",
        "datasets/test_transfer.py::test_retry_after_beyond_the_deadline_ends_at_once",
    ),
    fault(
        "a redirect loop; a redirect from https to http",
        "a limit of hops; refused",
        "datasets/test_transfer.py::test_redirect_loop_ends_at_the_hop_limit",
        "datasets/test_transfer.py::test_redirect_never_leaves_https",
    ),
    fault(
        "a slow drip, silence",
        "given up at a deadline",
        "datasets/test_transfer.py::test_slow_drip_meets_the_deadline",
        "datasets/test_transfer.py::test_silence_ends",
    ),
    fault(
        "200 with a login page",
        "an error of the checksum that names the content type",
        "datasets/test_transfer.py::test_login_page_is_named_by_its_content_type",
    ),
    fault(
        "an archive with `../`, links, a bomb, a pickle that calls something",
        "nothing outside of the target; a limit of size; refused",
        "datasets/test_cifar10.py::test_members_outside_and_links_are_passed_over",
        "datasets/test_cifar10.py::test_expected_member_must_be_a_plain_file",
        "datasets/test_cifar10.py::test_bomb_is_stopped",
        "datasets/test_cifar10.py::test_member_that_is_too_large_is_not_read",
        "datasets/test_cifar10.py::test_pickle_that_calls_something_is_refused",
    ),
    fault(
        "two downloads at once",
        "one wins, nothing is mixed",
        "datasets/test_transfer.py::test_two_at_once_never_mix",
    ),
    fault(
        "a cell that is no number, a missing label, another column, a ragged row, a header",
        "row and column are named",
        "datasets/test_sonar.py::test_malformed_line_is_named",
        "datasets/test_sonar.py::test_header_row_is_named",
        "datasets/test_cifar10.py::test_bad_label_is_named_by_file_and_row",
        "datasets/test_cifar10.py::test_bad_image_is_named_by_file_and_row",
    ),
)

# --- disks and processes ----------------------------------------------------------------------

PROCESSES = (
    fault(
        "a full disk (a small tmpfs) in every stage",
        "one line; what was there is as it was; the same command finishes once there is room",
        "faults/test_project.py::test_a_full_disk",
    ),
    fault(
        "an output folder that is read-only (a mount)",
        "fails before work starts, and names the path",
        "faults/test_project.py::test_a_folder_that_is_read_only",
    ),
    fault(
        "SIGKILL in every stage, `foldwise train`, `foldwise track`, dvc; then the same command",
        "results equal those of an uninterrupted run, no run is there twice",
        "faults/test_project.py::test_a_few_random_kills",
        "engine/test_trained_splits.py::test_a_killed_training_costs_the_chunks_in_hand_alone",
        "engine/test_trained_splits.py::test_a_killed_training_goes_on_from_its_checkpoints",
        "tracking/test_mirror.py::test_a_killed_process_and_then_two_at_once",
        "datasets/test_transfer.py::test_kill_midway_leaves_no_file",
    ),
    fault(
        "SIGKILL of dvc alone, and the same command at once",
        "the second one waits or refuses, or both come to the same end",
        "faults/test_project.py::test_dvc_alone_is_killed",
    ),
    fault(
        "SIGTERM; SIGINT once, twice",
        "a clean stop; status 143, 130",
        "core/test_processes.py::test_a_signal_ends_it_without_a_traceback",
        "commands/test_main.py::test_a_signal_ends_a_command",
    ),
    fault(
        "two `dvc repro` at once",
        "one works, the other says who holds the lock",
        "faults/test_project.py::test_two_reproductions_at_once",
    ),
    fault(
        "a file of a run that is truncated, or has a bit flipped",
        "found by its sha256, and named",
        "results/test_runs.py::test_a_damaged_file_is_named",
        "doctor/test_workspace.py::test_damaged_run_folders",
        "tracking/test_mirror.py::test_a_damaged_run_folder_is_named",
        "engine/test_trained_splits.py::test_a_damaged_entry_is_trained_again",
    ),
    fault(
        "spaces and letters beyond ASCII in the path of the checkout",
        "every stage works",
        "test_pipeline.py::test_everything_runs_once_and_leaves_what_it_declares",
    ),
    fault(
        "no git, no `.dvc`, a shallow clone",
        "a clear error, or said what cannot be told",
        "core/test_git.py::test_no_git",
        "core/test_git.py::test_no_checkout",
        "test_commits.py::test_without_git",
        "test_revisions.py::test_a_project_without_git_has_no_revisions",
    ),
    fault(
        "nothing was changed",
        "nothing runs, nothing is added",
        "test_pipeline.py::test_again_runs_nothing",
        "tracking/test_mirror.py::test_twice_adds_nothing",
        "tracking/test_server.py::test_twice_writes_nothing",
    ),
)

# --- settings and training --------------------------------------------------------------------

TRAINING = (
    fault(
        "dvc.lock truncated or with a conflict; params.yaml with a tab or a key twice",
        "an error with file and line",
        "doctor/test_locks.py::test_a_lock_file_with_a_conflict_is_a_persons",
        "doctor/test_locks.py::test_a_lock_file_cut_off_anywhere",
        "core/test_config.py::test_yaml_errors_name_line_and_column",
    ),
    fault(
        "a misspelt key, an unknown study",
        "an error with the nearest right name",
        "core/test_config.py::test_refused_with_key_and_remedy",
        "core/test_config.py::test_an_unknown_variant_names_the_nearest",
        "core/test_config.py::test_a_study_knows_its_name",
    ),
    fault(
        'a learning rate of −1, 0, NaN, inf, "0.1"; dropout of 1.5, NaN',
        "refused before data loads",
        "core/test_config.py::test_refused_with_key_and_remedy",
        "test_pipeline.py::test_a_bad_setting_stops_a_stage_before_any_data_loads",
    ),
    fault(
        "folds below 2, or more than the smallest class has rows; data of one class",
        "refused",
        "core/test_config.py::test_refused_with_key_and_remedy",
        "test_splits.py::test_a_class_smaller_than_the_folds_is_refused",
        "test_splits.py::test_a_single_class_is_refused",
        "datasets/test_sonar.py::test_single_class_is_refused",
    ),
    fault(
        "a loss that is not finite",
        "the variant fails with epoch, split and rate; others go on; the comparison says so",
        "numerics/test_training.py::test_a_loss_that_is_not_finite_says_where_and_when",
        "engine/test_cross_validation.py::test_a_diverging_variant_is_a_failed_run_that_can_be_written",
        "commands/test_train.py::test_a_training_that_diverges_is_a_result",
        "test_comparison.py::test_what_is_not_paired_is_refused",
    ),
    fault(
        "FOLDWISE_DEVICE=cuda without a GPU",
        "a message before training; `auto` says what it takes",
        "engine/test_executors.py::test_devices",
    ),
    fault(
        "out of memory",
        "said, with what to make smaller",
        "engine/test_executors.py::test_a_killed_worker_is_said_clearly",
    ),
    fault(
        "a batch size that leaves one row to BatchNorm",
        "refused before training, with one that works",
        "core/test_config.py::test_refused_with_key_and_remedy",
        "core/test_config.py::test_the_proposed_batch_size_is_accepted",
    ),
)

# --- tracking ---------------------------------------------------------------------------------

TRACKING = (
    fault(
        "a tracking server that is not there when `track` starts",
        "fails within 15 s: results are safe, and how to go on",
        "tracking/test_server.py::test_a_server_that_is_not_there",
        "tracking/test_server.py::test_a_server_that_is_no_use",
    ),
    fault(
        "a server that dies midway, is slow, always answers 500",
        "the next `track` completes; one run each, nothing twice",
        "tracking/test_server.py::test_a_server_that_dies_again_and_again",
        "tracking/test_server.py::test_requests_go_wrong_in_every_way",
        "tracking/test_server.py::test_every_request_is_sent_twice",
        "tracking/test_server.py::test_a_killed_server",
        "tracking/test_server.py::test_a_restarted_database",
        "tracking/test_server.py::test_a_server_that_never_answers",
    ),
    fault(
        "a database that is locked; several processes on a fresh store",
        "tried again, then a clear error; all succeed",
        "tracking/test_mirror.py::test_a_locked_database_is_tried_again",
        "tracking/test_mirror.py::test_three_processes_at_once_on_a_fresh_store",
    ),
    fault(
        "a database that is older, newer, none",
        "three messages",
        "tracking/test_mirror.py::test_a_database_of_another_mlflow",
        "tracking/test_mirror.py::test_a_file_that_is_no_database",
        "tracking/test_mirror.py::test_a_database_of_something_else",
    ),
    fault(
        "an upload that fails midway",
        "the run is not marked complete; the next `track` repairs it",
        "tracking/test_mirror.py::test_an_upload_that_fails_leaves_the_run_incomplete",
        "tracking/test_server.py::test_an_upload_that_breaks_leaves_the_run_incomplete",
    ),
)

# --- wrong in silence ---------------------------------------------------------------------------

SILENCE = (
    fault(
        "real data cannot be had any more: no mirror, other code, a deleted folder, a clone",
        "they come from DVC's cache or remote; the stand-in is for who never had them, "
        "and is said to the end",
        "datasets/test_real_data.py::test_no_mirror_any_more",
        "datasets/test_real_data.py::test_other_code",
        "datasets/test_real_data.py::test_a_deleted_folder_comes_from_the_cache",
        "datasets/test_real_data.py::test_a_clone_takes_them_from_the_remote",
        "datasets/test_real_data.py::test_who_never_had_them_is_told_and_can_have_them_later",
        "datasets/test_download.py::test_the_stand_in_never_takes_the_place_of_real_data",
        "commands/test_notices.py::test_results_and_doctor",
        "commands/test_notices.py::test_track",
    ),
    fault(
        "variables for uv, pip, venv, conda, Python of another environment",
        "`make setup` neither reaches it nor is broken by it",
        "test_setup.py::test_whatever_is_set_for_other_environments",
    ),
    fault(
        "other code in the workspace than that of a queued experiment; a checkout copied "
        "with its .venv",
        "a stage runs the source beside it, or refuses",
        "datasets/test_real_data.py::test_a_temporary_experiment_finds_the_mirror_and_runs_its_own_code",
        "core/test_processes.py::test_a_stage_runs_the_source_beside_it",
        "core/test_processes.py::test_a_command_runs_the_source_of_the_project_it_is_called_in",
        "core/test_processes.py::test_where_it_cannot_it_refuses",
        "test_setup.py::test_a_copied_checkout_gets_its_own",
    ),
    fault(
        "a gate on a revision that is none",
        'refused: `--rev ""` passes nothing',
        "commands/test_compare.py::test_a_gate_does_not_pass_on_a_revision_that_is_none",
    ),
    fault(
        "a crash, or damaged files, of a command that gives verdicts",
        "no verdict's status: a loss has 3, an error 1, what cannot be compared 2, a "
        "fault of foldwise 70",
        "commands/test_compare.py::test_a_crash_is_no_verdict",
        "commands/test_compare.py::test_damaged_files_are_no_verdict",
        "commands/test_compare.py::test_a_loss_has_a_status_of_its_own",
        "commands/test_exit_status.py::test_every_command_is_in_the_table",
        "core/test_processes.py::test_any_other_error_has_a_status_of_its_own",
    ),
    fault(
        "`predict` on a header of numbers, on columns in another order",
        "matched by name, or refused; said where there are no names",
        "test_prediction.py::test_numbers_that_may_be_a_header_are_refused",
        "test_prediction.py::test_a_header_that_counts_is_no_row",
        "test_prediction.py::test_names_that_the_model_does_not_know_are_noted",
    ),
    fault(
        "a relative mirror in the folder of a temporary experiment",
        "that of the project",
        "datasets/test_download.py::test_a_relative_mirror_is_the_projects_also_in_an_experiments_folder",
    ),
    fault(
        "git is not there, or cannot say what changed",
        "unknown is not clean: no champion",
        "tracking/test_champions.py::test_where_git_cannot_say_it_nothing_is_clean",
        "tracking/test_champions.py::test_without_git_there_is_nothing_to_commit",
    ),
    fault(
        "scores of another training than the one in runs/",
        "refused by `track`, `results`, report, `compare`; found by the doctor",
        "results/test_studies.py::test_scores_of_another_training_are_refused_until_all_is_made_again",
        "doctor/test_workspace.py::test_scores_of_another_training_are_found",
    ),
    fault(
        "experiments after a version was registered",
        "why it is no champion comes from its own tags",
        "tracking/test_champions.py::test_the_reason_is_the_version_s_own",
        "tracking/test_champions.py::test_an_experiment_does_not_decide_about_results_that_are_not_its_own",
    ),
    fault(
        "dropout at rates next to 0 and 1",
        "share kept, factor and mean are those of the law, for every learner",
        "numerics/test_networks.py::test_the_masks_that_learners_are_given_have_the_rate_of_the_settings",
        "numerics/test_networks.py::test_dropout_drops_with_p_and_rescales_what_it_keeps",
    ),
)

# --- stuck, or work lost ------------------------------------------------------------------------

STUCK = (
    fault(
        "`make setup` killed at any moment, twice at once, without what makes environments",
        "the same command finishes; one line names the package",
        "test_setup.py::test_killed_at_any_moment_and_again",
        "test_setup.py::test_two_at_once",
        "test_setup.py::test_without_what_makes_environments",
    ),
    fault(
        "dvc killed while it writes its lock, dvc.lock; a killed one that nobody asked about",
        "`make repro` and `foldwise doctor --fix` mend it",
        "doctor/test_locks.py::test_killed_while_it_wrote_its_lock",
        "doctor/test_locks.py::test_killed_while_it_wrote_dvc_lock",
        "doctor/test_locks.py::test_killed_while_a_stage_ran",
        "doctor/test_locks.py::test_a_lock_file_cut_off_anywhere",
        "doctor/test_locks.py::test_a_killed_dvc_that_nobody_asked_about",
    ),
    fault(
        "SIGTERM, SIGINT, to the parent or the group, while workers train",
        "ends within 2 s, without a traceback; finished splits are kept",
        "engine/test_signals.py::test_finished_splits_are_kept",
        "engine/test_signals.py::test_a_long_step_of_compiled_code_does_not_hold_it_up",
    ),
    fault(
        "a write of a run folder that is cut short at any call",
        "a whole run or none; flushed, readable by others; dvc does not see it",
        "results/test_runs.py::test_a_write_that_is_cut_short_leaves_a_whole_run_or_none",
        "results/test_runs.py::test_dvc_does_not_see_what_is_half_written",
        "core/test_files.py::test_everybody_may_read_and_the_owner_write",
        "core/test_files.py::test_the_bytes_are_flushed_before_the_rename_and_the_folder_after_it",
    ),
    fault(
        "no room or no right for what a training writes",
        "said before it trains; a run that does not fit leaves the old one",
        "commands/test_train.py::test_a_full_disk_is_said_before_anything_trains",
        "commands/test_train.py::test_a_run_that_does_not_fit_leaves_the_old_one",
        "commands/test_train.py::test_the_stage_looks_at_its_folder_before_it_trains",
        "core/test_files.py::test_a_full_disk_leaves_a_folder_as_it_was",
    ),
    fault(
        "networks that no memory holds",
        "estimated and refused before training, with the numbers",
        "engine/test_limits.py::test_as_many_workers_as_memory_has_room_for",
        "engine/test_limits.py::test_absurd_sizes_are_refused_before_anything_trains",
        "engine/test_limits.py::test_a_machine_or_its_limit_says_what_is_free",
        "engine/test_limits.py::test_the_estimate_is_about_what_a_training_takes",
        "engine/test_limits.py::test_check_counts_before_there_are_data",
    ),
    fault(
        "whatever people do in MLflow's interface",
        "`track` mends it or says it; never a traceback",
        "tracking/test_hands.py::test_an_experiment",
        "tracking/test_hands.py::test_tags_of_runs",
        "tracking/test_hands.py::test_the_doctor_misses_a_tag",
        "tracking/test_hands.py::test_a_deleted_run_comes_again_and_is_no_double_when_it_is_restored",
        "tracking/test_hands.py::test_names_and_descriptions_are_peoples_own",
        "tracking/test_hands.py::test_runs_of_somebody_else_are_left_alone",
        "tracking/test_hands.py::test_a_deleted_model_comes_again",
        "tracking/test_hands.py::test_a_registered_model",
        "tracking/test_hands.py::test_a_version_of_somebody_else",
        "tracking/test_hands.py::test_everything_is_deleted",
    ),
    fault(
        "a project in a subfolder of its repository; a shallow clone",
        "read as any other; the advice is `--unshallow`",
        "test_commits.py::test_a_project_in_a_subfolder_of_its_repository",
        "test_commits.py::test_in_a_shallow_clone_the_advice_is_to_fetch_the_rest",
        "backfill/test_backfill.py::test_a_project_in_a_subfolder_of_its_repository",
    ),
    fault(
        "a server that says yes to everything, talks nonsense, freezes",
        "one deadline for all",
        "tracking/test_liars.py::test_a_server_that_answers_everything_alike",
        "tracking/test_liars.py::test_a_server_that_says_yes_to_everything_from_some_time_on",
        "tracking/test_liars.py::test_a_server_that_freezes",
    ),
)

# --- tracebacks and leaks -----------------------------------------------------------------------

TRACEBACKS = (
    fault(
        "a password in an address, of a mirror, a redirect, a server",
        "masked wherever it would be shown",
        "core/test_errors.py::test_addresses_show_neither_user_nor_password_nor_query",
        "core/test_errors.py::test_no_password_is_left",
        "core/test_errors.py::test_no_password_is_left_where_nobody_thought_of_the_error",
        "datasets/test_download.py::test_no_password_is_printed",
        "tracking/test_server.py::test_no_password_is_shown",
    ),
    fault(
        "files and answers that are none: params.yaml, results, headers, variables, "
        "addresses, ports, closed pipes",
        "a line with the place; what nobody expected is two lines, a file with the "
        "traceback, status 70",
        "core/test_endings.py::test_what_users_can_do_something_about_is_a_line",
        "core/test_endings.py::test_anything_else_is_two_lines_and_a_file",
        "core/test_endings.py::test_outside_of_a_project_it_is_among_the_temporary_files",
        "core/test_endings.py::test_where_nothing_can_be_written_it_is_said_at_once",
        "core/test_config.py::test_a_file_that_is_none_is_refused",
        "core/test_environment.py::test_workers_are_a_whole_number",
        "datasets/test_transfer.py::test_an_absurd_redirect_is_a_reason_in_one_line",
        "datasets/test_transfer.py::test_an_absurd_retry_after_is_one_that_is_not_there",
        "commands/test_exit_status.py::test_a_reader_that_goes_away_is_no_error_to_read",
        "commands/test_others.py::test_a_port_that_cannot_be",
        "tracking/test_mirror.py::test_what_is_not_an_address",
    ),
    fault(
        "`predict` on a pipe, a line without end, turned and transparent pictures",
        "read in blocks, bounded; pictures as they are shown",
        "test_prediction.py::test_a_pipe_is_answered_while_it_is_written",
        "test_prediction.py::test_a_line_without_an_end_is_refused_soon",
        "test_prediction.py::test_a_picture_is_taken_as_it_is_shown",
    ),
    fault(
        "`.eval()` of a logged network; pickles in a model",
        "works; none of them can run code",
        "tracking/test_serving.py::test_an_exported_network_is_in_evaluation_mode_for_good",
        "tracking/test_serving.py::test_no_pickle_in_a_model_can_run_code",
    ),
    fault(
        "advice for a class of one row, a byte order mark, old line ends, an archive without git",
        "possible and right: it is carried out",
        "test_splits.py::test_a_class_of_one_row_is_refused_with_a_remedy_that_works",
        "datasets/test_sonar.py::test_a_byte_order_mark_is_no_data",
        "datasets/test_real_data.py::test_a_malformed_file_is_corrected_where_it_comes_from",
        "doctor/test_locks.py::test_a_project_that_was_downloaded_as_an_archive",
    ),
)

# --- whatever it is given -----------------------------------------------------------------------

BESIDES = (
    fault(
        "thousands of changed settings, tables, run folders, metrics, server answers",
        "accepted, or refused with the place; never a traceback, a hang, a changed file",
        "fuzz/test_params.py::test_other_bytes",
        "fuzz/test_params.py::test_other_values",
        "fuzz/test_params.py::test_known_damages_are_named",
        "fuzz/test_params.py::test_a_folder_in_its_place_is_refused",
        "fuzz/test_params.py::test_numbers_of_any_size_are_refused_or_used",
        "fuzz/test_data_tables.py::test_sonar",
        "fuzz/test_data_tables.py::test_cifar10_as_parquet",
        "fuzz/test_data_tables.py::test_provenance",
        "fuzz/test_data_tables.py::test_prepared_data",
        "fuzz/test_data_tables.py::test_split_tables",
        "fuzz/test_data_tables.py::test_rows_to_predict",
        "fuzz/test_data_tables.py::test_pictures_to_predict",
        "fuzz/test_results_files.py::test_metrics",
        "fuzz/test_results_files.py::test_scores",
        "fuzz/test_results_files.py::test_comparisons",
        "fuzz/test_results_files.py::test_a_report_of_what_is_accepted",
        "fuzz/test_results_files.py::test_files_of_a_run",
        "fuzz/test_results_files.py::test_tables_of_a_run_that_was_signed_again",
        "fuzz/test_results_files.py::test_journals",
        "fuzz/test_server_answers.py::test_as_it_should_be",
        "fuzz/test_server_answers.py::test_what_is_read",
        "fuzz/test_server_answers.py::test_what_is_tracked_to",
        "fuzz/test_server_answers.py::test_the_same_answer_to_everything",
        "fuzz/test_commands_on_anything.py::test_what_reads",
        "fuzz/test_commands_on_anything.py::test_what_says_what_is_wrong",
    ),
    fault(
        "links in data/",
        "nothing is written or removed through them",
        "faults/test_links.py::test_a_folder_that_is_a_link_is_refused",
        "faults/test_links.py::test_a_file_that_is_a_link_is_replaced",
        "faults/test_links.py::test_data_itself_may_be_on_another_disk",
        "faults/test_links.py::test_the_store_of_trained_splits_removes_its_own_files_alone",
    ),
    fault(
        "a model of somebody else that is a pickle, whatever it says that it is",
        "refused before anything of it runs",
        "faults/test_models.py::test_a_pickle_is_not_opened",
    ),
    fault(
        "names and reasons that are HTML or Markdown",
        "shown as text",
        "faults/test_names.py::test_the_report_shows_them_and_runs_nothing",
        "faults/test_names.py::test_markdown_tables_keep_their_cells",
        "faults/test_names.py::test_descriptions_in_mlflow_are_text",
        "faults/test_names.py::test_names_are_no_paths_options_or_shell",
    ),
    fault(
        "a source of advisories that is not there, or never answers",
        "`make check` says so within seconds, and fails for none",
        "faults/test_audit.py::test_an_advisory_is_printed_and_fails_nothing",
        "faults/test_audit.py::test_nothing_is_known",
        "faults/test_audit.py::test_a_source_that_is_not_there_is_a_reason",
        "faults/test_audit.py::test_a_source_that_never_answers_costs_seconds",
        "faults/test_audit.py::test_everything_that_is_locked_is_asked_about",
    ),
    fault(
        "warnings of libraries that no user can act on",
        "not shown",
        "core/test_processes.py::test_warnings_of_libraries_are_not_for_users",
    ),
)

CATALOGUE = {
    "Data": DATA,
    "Disks and processes": PROCESSES,
    "Settings and training": TRAINING,
    "Tracking": TRACKING,
    "Wrong in silence": SILENCE,
    "Stuck, or work lost": STUCK,
    "Tracebacks and leaks": TRACEBACKS,
    "Whatever it is given": BESIDES,
}
