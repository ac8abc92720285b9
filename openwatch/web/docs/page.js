// Shows the API's description and tries requests. Whatever it shows becomes text, never markup.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
const LONGEST = 300000; // characters of an answer that are shown

let api = null;
const operations = new Map(); // operationId: {id, method, path, told}

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Paragraphs, **bold** and `code`, as nodes.
function prose(text) {
  return (text || "").split(/\n\s*\n/).filter(Boolean).map((paragraph) =>
    make("p", null, ...paragraph.replace(/\s*\n\s*/g, " ").split(/(`[^`]*`|\*\*[^*]*\*\*)/).map((part) => {
      if (part.startsWith("`")) return make("code", null, part.slice(1, -1));
      return part.startsWith("**") ? make("strong", null, part.slice(2, -2)) : part;
    })));
}

function resolved(thing) {
  if (!thing || !thing.$ref) return thing || {};
  const found = thing.$ref.slice(2).split("/").reduce((at, step) => (at || {})[step], api);
  return { ...found, ...(thing.description ? { description: thing.description } : {}) };
}

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  const choices = schema.anyOf || schema.oneOf;
  if (choices) return choices.map(typeOf).join(" | ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.type === "array") return `[${schema.items ? typeOf(schema.items) : ""}]`;
  const bounds = [["minimum", ">="], ["maximum", "<="], ["minLength", "length >="], ["maxLength", "length <="]]
    .filter(([key]) => key in schema).map(([key, sign]) => `${sign} ${schema[key]}`);
  const preset = schema.default === undefined || schema.default === null ? [] : [`else ${JSON.stringify(schema.default)}`];
  return [(schema.type || "anything") + (schema.format ? ` (${schema.format})` : ""), ...bounds, ...preset].join(", ");
}

// The schema that a field leads to, where there is more to show than its type.
function inner(schema) {
  if (schema.items) return inner(schema.items);
  const choices = schema.anyOf || schema.oneOf;
  if (choices) return choices.map(inner).find(Boolean);
  const found = resolved(schema);
  return found.properties || found.enum ? found : null;
}

function shape(schema) {
  const found = resolved(schema);
  if (!found.properties) return make("p", null, make("code", null, typeOf(found)));
  const required = new Set(found.required || []);
  const rows = Object.entries(found.properties).map(([name, field]) => {
    const label = [make("code", null, name), required.has(name) ? " " : " ? ", make("span", { class: "dim" }, typeOf(field))];
    const more = inner(field);
    if (!more) return make("li", null, ...label);
    const details = make("details", null, make("summary", null, ...label));
    details.addEventListener("toggle", () => details.append(...prose(more.description), shape(more)), { once: true });
    return make("li", null, details);
  });
  return make("ul", { class: "schema" }, ...rows);
}

function content(media) {
  return Object.entries(media || {}).flatMap(([type, told]) => [
    make("p", { class: "dim" }, type),
    told.schema ? shape(told.schema) : null,
    told.example === undefined ? null
      : make("details", null, make("summary", null, "Example"), make("pre", null, JSON.stringify(told.example, null, 2))),
  ]);
}

function parametersOf(operation) {
  return (operation.told.parameters || []).map(resolved)
    .filter((one) => one.name !== "X-CSRF-Token" && one.name !== "Idempotency-Key");
}

function form(operation) {
  const fields = parametersOf(operation).map((told) => ({
    told,
    input: make("input", {
      name: told.name, "aria-label": told.name, autocomplete: "off", spellcheck: "false",
      placeholder: typeOf(told.schema || {}),
    }),
  }));
  const rows = fields.map(({ told, input }) => make("tr", null,
    make("td", null, make("code", null, told.name), told.required ? " *" : ""),
    make("td", { class: "dim" }, told.in),
    make("td", null, input),
    make("td", null, ...prose(told.description))));
  const json = operation.told.requestBody && operation.told.requestBody.content["application/json"];
  const body = json ? make("textarea", { "aria-label": "Body", spellcheck: "false" }) : null;
  if (body) body.value = JSON.stringify(json.example === undefined ? {} : json.example, null, 2);
  const answer = make("div", { role: "status" });
  const stop = make("button", { type: "button", hidden: "" }, "Stop");
  const send = make("button", { type: "submit" }, "Send");
  const whole = make("form", {
    onsubmit: (event) => { event.preventDefault(); run(operation, fields, body, answer, send, stop); },
  },
  rows.length ? make("table", null, make("tbody", null, ...rows)) : null,
  body ? make("h3", null, "Body") : null, body, make("p", null, send, stop), answer);
  return [whole, json ? make("h3", null, "What the body may hold") : null, json ? shape(json.schema) : null];
}

function cookie(name) {
  const found = document.cookie.split("; ").find((one) => one.startsWith(`${name}=`));
  return found ? found.slice(name.length + 1) : "";
}

function requestOf(operation, fields, body) {
  const headers = {};
  const query = new URLSearchParams();
  let path = operation.path;
  for (const { told, input } of fields) {
    const value = input.value;
    if (told.in === "path") path = path.replace(`{${told.name}}`, () => encodeURIComponent(value));
    else if (value !== "" && told.in === "query") query.append(told.name, value);
    else if (value !== "" && told.in === "header") headers[told.name] = value;
  }
  const token = document.getElementById("token").value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  if (operation.method !== "get") {
    if (!token && cookie("XSRF-TOKEN")) headers["X-CSRF-Token"] = cookie("XSRF-TOKEN");
    const names = (operation.told.parameters || []).map((one) => one.name);
    if (names.includes("Idempotency-Key")) headers["Idempotency-Key"] = crypto.randomUUID();
  }
  if (body) headers["Content-Type"] = "application/json";
  const text = query.toString();
  return [path + (text ? `?${text}` : ""), {
    method: operation.method.toUpperCase(), headers, body: body ? body.value : undefined,
    credentials: token ? "omit" : "same-origin", redirect: "error", cache: "no-store",
  }];
}

async function run(operation, fields, body, answer, send, stop) {
  const [url, request] = requestOf(operation, fields, body);
  const ended = new AbortController();
  const output = make("pre", null);
  const line = make("p", { class: "dim" }, `${request.method} ${url}`);
  answer.replaceChildren(line, output);
  send.disabled = true;
  stop.hidden = false;
  stop.onclick = () => ended.abort();
  const begun = performance.now();
  try {
    const response = await fetch(url, { ...request, signal: ended.signal });
    const took = Math.round(performance.now() - begun);
    line.append(make("strong", null, ` ${response.status} ${response.statusText}`), ` after ${took} ms`);
    answer.insertBefore(make("details", null, make("summary", null, "Headers"),
      make("pre", null, [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n"))), output);
    await show(response, output);
  } catch (error) {
    output.append(error.name === "AbortError" ? "\nStopped." : `\n${error.message}`);
  } finally {
    send.disabled = false;
    stop.hidden = true;
    if (operation.path.startsWith("/api/v1/auth/")) whoami();
  }
}

// Text as it comes, so that a stream of events is seen; JSON is set out once it is whole.
async function show(response, output) {
  const reader = response.body ? response.body.getReader() : null;
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = reader ? await reader.read() : { done: true };
    const piece = done ? decoder.decode() : decoder.decode(value, { stream: true });
    text += piece;
    output.append(piece);
    if (done) break;
    if (text.length > LONGEST) {
      await reader.cancel();
      output.append("\n... the rest is not shown");
      return;
    }
  }
  if ((response.headers.get("Content-Type") || "").includes("json") && text) {
    output.textContent = JSON.stringify(JSON.parse(text), null, 2);
  }
}

function answers(operation) {
  return Object.entries(operation.told.responses).map(([status, told]) => {
    const found = resolved(told);
    const known = (operation.told["x-error-codes"] || {})[status] || [];
    const codes = known.map((code) => make("li", null, make("code", null, code), " ",
      ((api["x-error-codes"] || {})[code] || {}).meaning || ""));
    return make("details", status < "300" ? { open: "" } : null,
      make("summary", null, make("strong", null, status), codes.length ? "" : ` ${found.description || ""}`),
      ...(codes.length ? [make("ul", null, ...codes)] : content(found.content)));
  });
}

function showOperation(operation) {
  const told = operation.told;
  document.title = `${told.summary} - OpenWatch API`;
  document.getElementById("page").replaceChildren(
    make("h2", null, told.summary),
    make("p", { class: "path" }, make("span", { class: "method" }, operation.method.toUpperCase()), operation.path),
    ...prose(told.description), make("h3", null, "Try it"), ...form(operation).filter(Boolean),
    make("h3", null, "Answers"), ...answers(operation));
}

function showAbout() {
  document.title = "OpenWatch API";
  document.getElementById("page").replaceChildren(...prose(api.info.description),
    ...api.tags.flatMap((tag) => [make("h3", null, tag.name), ...prose(tag.description)]));
}

function follow() {
  const operation = operations.get(decodeURIComponent(location.hash.slice(1)));
  for (const link of document.querySelectorAll("nav a")) {
    if (operation && link.dataset.operation === operation.id) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (operation) showOperation(operation);
  else showAbout();
  document.getElementById("page").scrollTop = 0;
}

function list() {
  const wanted = document.getElementById("find").value.trim().toLowerCase();
  const index = document.getElementById("index");
  index.replaceChildren();
  for (const tag of api.tags) {
    const fitting = [...operations.values()].filter((one) => one.told.tags.includes(tag.name)
      && `${one.id} ${one.method} ${one.path} ${one.told.summary}`.toLowerCase().includes(wanted));
    if (!fitting.length) continue;
    index.append(make("h3", { title: tag.description }, tag.name), ...fitting.map((one) =>
      make("a", { href: `#${encodeURIComponent(one.id)}`, title: one.path, "data-operation": one.id },
        make("span", { class: "method" }, one.method.toUpperCase()), one.told.summary)));
  }
}

async function whoami() {
  const who = document.getElementById("who");
  try {
    const response = await fetch("/api/v1/auth/me/permissions", { headers: { "X-Background-Refresh": "1" } });
    const { identity } = await response.json();
    who.textContent = identity.is_anonymous ? "not signed in" : `signed in (${identity.role})`;
  } catch {
    who.textContent = "";
  }
}

async function start() {
  try {
    const response = await fetch("/api/v1/openapi.json", { credentials: "omit" });
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    api = await response.json();
  } catch (error) {
    document.getElementById("page").replaceChildren(make("p", null, `The description cannot be read: ${error.message}`));
    return;
  }
  document.getElementById("version").textContent = api.info.version;
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((one) => methods[one])) {
      const told = methods[method];
      operations.set(told.operationId, { id: told.operationId, method, path, told });
    }
  }
  document.getElementById("find").addEventListener("input", () => { list(); });
  addEventListener("hashchange", follow);
  list();
  follow();
  whoami();
}

start();
