-- Roles of a database that sensord works on. Run once in that database, as a superuser, before `sensord db upgrade`,
-- and again where a version brings a role; harmless. Roles can't log in and have no password: make a user for each process or person, such as
--     CREATE USER sensord_prod PASSWORD '...' IN ROLE sensord_daemon;
-- and for whoever upgrades the schema, so that the tables belong to the role:
--     CREATE USER sensord_admin PASSWORD '...' IN ROLE sensord_owner;  ALTER USER sensord_admin SET role = 'sensord_owner';
--
-- sensord_owner     owns the tables: `sensord db upgrade`, and nothing else
-- sensord_daemon    `sensord run`, `sensord replay --model A`
-- sensord_trainer   `sensord train`, `sensord model`
-- sensord_notifier  `sensord notify`
-- sensord_operator  reads, and answers alerts: `sensord alerts ack|accept|feedback`
-- sensord_reader    reads: dashboards, `sensord alerts list`

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'sensord_owner', 'sensord_daemon', 'sensord_trainer', 'sensord_notifier', 'sensord_operator', 'sensord_reader'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO '
        'sensord_owner, sensord_daemon, sensord_trainer, sensord_notifier, sensord_operator, sensord_reader',
        current_database()
    );
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public
    TO sensord_owner, sensord_daemon, sensord_trainer, sensord_notifier, sensord_operator, sensord_reader;
GRANT CREATE ON SCHEMA public TO sensord_owner;
