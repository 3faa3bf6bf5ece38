// @azure/core-lro against the dialect `Azure`: `/azure` of the workbench, as generated clients use it over
// @azure-rest/core-client.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

// The packages are in the folder that the second argument names, so that none are written beside this file.
const [, , base, packages] = process.argv;
const find = createRequire(path.join(packages, "package.json"));
const load = (name) => import(pathToFileURL(find.resolve(name)));
const { createRestError, getClient } = await load("@azure-rest/core-client");
const { createHttpPoller } = await load("@azure/core-lro");

const client = getClient(base, { allowInsecureConnection: true, apiVersion: "2026-01-01" });
const tests = [];
const test = (name, run) => tests.push([name, run]);

// What generated clients have as `getLongRunningPoller`.
function begin(method, target, body, options = {}) {
    const send = async (method, url, body) => {
        const response = await client.pathUnchecked(url)[method]({ body });
        if (!["200", "201", "202", "204"].includes(response.status)) throw createRestError(response);
        return { flatResponse: response, rawResponse: { ...response, statusCode: Number(response.status) } };
    };
    return createHttpPoller(
        {
            sendInitialRequest: () => send(method, target, body),
            sendPollRequest: (url) => send("get", url),
        },
        // So long that a test which needs it fails: it does when Retry-After is missing.
        { intervalInMs: 600_000, ...options },
    );
}

// A poller that waits for what does not come is a failure too.
const ended = (poller) => poller.pollUntilDone({ abortSignal: AbortSignal.timeout(30_000) });

test("it polls to the result in the document", async () => {
    const poller = begin("post", "/azure/jobs", { ms: 400, steps: 2, echo: "é" });
    const seen = [];
    poller.onProgress((state) => seen.push(state.status));
    const { body } = await ended(poller);
    assert.equal(body.status, "Succeeded");
    assert.deepEqual(body.result, { ok: true, echo: "é" });
    assert.equal(seen[0], "running");
    assert.equal(seen.at(-1), "succeeded");
});

test("it finds the result by each way to the final state", async () => {
    const cases = [
        ["", undefined, true],
        ["", "operation-location", true],
        ["", "azure-async-operation", true],
        // Without a `Location` there is only the document.
        ["", "location", true],
        ["?final=location", undefined, false],
        ["?final=location", "location", false],
        ["?final=location", "operation-location", true],
    ].map(async ([query, resourceLocationConfig, byDocument]) => {
        const poller = begin("post", "/azure/jobs" + query, { ms: 100, echo: "v" }, { resourceLocationConfig });
        const { body } = await ended(poller);
        assert.deepEqual(byDocument ? body.result : body, { ok: true, echo: "v" }, query + resourceLocationConfig);
    });
    await Promise.all(cases);
});

test("it fetches a result that is no JSON by Location", async () => {
    const { body, headers } = await ended(begin("post", "/azure/jobs?final=location", { size: 1000 }));
    assert.equal(headers["content-type"], "application/octet-stream");
    assert.equal(headers["content-length"], "1000");
    assert.ok(body.length > 0);
});

test("it puts a thing and has it when it is done", async () => {
    const thing = `/azure/things/${randomUUID()}`;
    for (const resourceLocationConfig of [undefined, "original-uri"]) {
        const url = `${thing}${resourceLocationConfig ?? ""}`;
        const poller = begin("put", `${url}?ms=2000`, undefined, { resourceLocationConfig });
        await poller.submitted();
        const missing = await client.pathUnchecked(url).get();
        assert.equal(missing.status, "404");
        assert.equal(missing.body.error.code, "ThingNotFound");
        const { body } = await ended(poller);
        assert.equal(body.made, true);
        assert.deepEqual((await client.pathUnchecked(url).get()).body, body);
    }
});

test("it ends a deletion with the document", async () => {
    const { body } = await ended(begin("delete", "/azure/jobs?ms=100"));
    assert.equal(body.status, "Succeeded");
    assert.equal("result" in body, false);
});

test("it reports what failed with the code of the document", async () => {
    const cases = [
        ["fail", "UnprocessableEntity", /why/],
        ["panic", "Panicked", /./],
        ["error", "Errored", /./],
    ].map(async ([outcome, code, message]) => {
        const poller = begin("post", "/azure/jobs", { ms: 100, outcome, echo: "why" });
        await assert.rejects(ended(poller), (error) => {
            assert.match(error.message, message);
            assert.match(error.message, new RegExp(`\\b${code}\\b`));
            return true;
        });
        assert.equal(poller.operationState.status, "failed");
    });
    await Promise.all(cases);
});

test("it is told at once of a bad request", async () => {
    await assert.rejects(begin("post", "/azure/jobs", { ms: -1 }).submitted(), { statusCode: 400 });
});

test("it sees a cancellation as the end", async () => {
    const poller = begin("post", "/azure/jobs", { ms: 60_000 });
    await poller.submitted();
    const monitor = poller.operationState.config.operationLocation;
    const cancelled = await client.pathUnchecked(`${monitor}:cancel`).post();
    assert.equal(cancelled.status, "200");
    assert.equal(cancelled.body.status, "Canceled");
    await assert.rejects(ended(poller), /canceled/);
    assert.equal(poller.operationState.status, "canceled");
});

test("it resumes from its serialized state", async () => {
    const cases = ["", "?final=location"].map(async (query) => {
        const restoreFrom = await begin("post", "/azure/jobs" + query, { ms: 500, echo: "t" }).serialize();
        const again = begin("post", "/must-not-be-sent", undefined, { restoreFrom });
        const { body } = await ended(again);
        assert.equal((query ? body : body.result).echo, "t");
    });
    await Promise.all(cases);
});

test("it learns that a forgotten operation is gone", async () => {
    const poller = begin("post", "/azure/jobs", { echo: "gone" });
    const restoreFrom = await poller.serialize();
    await ended(poller);
    const monitor = poller.operationState.config.operationLocation;
    assert.equal((await client.pathUnchecked(monitor).delete()).status, "204");
    const again = begin("post", "/must-not-be-sent", undefined, { restoreFrom });
    await assert.rejects(ended(again), { statusCode: 404, code: "OperationNotFound" });
});

let failed = 0;
for (const [name, run] of tests) {
    const begun = performance.now();
    const took = () => ((performance.now() - begun) / 1000).toFixed(1).padStart(5);
    try {
        await run();
        console.log(`ok      ${took()} s  ${name.replaceAll(" ", "_")}`);
    } catch (error) {
        failed += 1;
        console.log(`FAILED  ${took()} s  ${name.replaceAll(" ", "_")}`);
        console.error(error);
    }
}
console.log(`${tests.length - failed} passed, ${failed} failed`);
// At once: a poller of a failed test may still wait for its next poll.
process.exit(failed ? 1 : 0);
