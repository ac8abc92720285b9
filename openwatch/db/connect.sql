-- session: make the session what the program relies on, and name the process behind it
-- Statements are short: compiling one cost 4 to 20 ms where it runs 1, and saved nothing in long ones.
SELECT pg_backend_pid(),
       set_config('TimeZone', 'UTC', false),
       set_config('DateStyle', 'ISO, YMD', false),
       set_config('default_transaction_isolation', 'read committed', false),
       set_config('statement_timeout', :statement_timeout::text, false),
       set_config('lock_timeout', '10s', false),
       set_config('idle_in_transaction_session_timeout', '5min', false),
       set_config('idle_session_timeout', '0', false),
       set_config('jit', 'off', false)

-- kind: tell whether this is a standby, and whether it takes writes
SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'
