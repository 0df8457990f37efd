// Swagger UI on /openapi.yaml. Tokens are kept in memory only and end with the page.
"use strict";

// A watched order may never end, and Swagger UI shows an answer only when it is whole.
const WATCH_MILLISECONDS = 5000;

async function fetchAWhile(url, request) {
  const end = new AbortController();
  const timer = setTimeout(() => end.abort(), WATCH_MILLISECONDS);
  const answer = await fetch(url, { ...request, signal: end.signal });
  const decoder = new TextDecoder();
  let text = "";
  try {
    for (const reader = answer.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
    }
  } catch (error) {
    if (error.name !== "AbortError") throw error;
    text += `: ended by this page after ${WATCH_MILLISECONDS / 1000} seconds\n`;
  } finally {
    clearTimeout(timer);
  }
  const whole = new Response(text, { status: answer.status, statusText: answer.statusText, headers: answer.headers });
  Object.defineProperty(whole, "url", { value: answer.url });
  return whole;
}

window.ui = SwaggerUIBundle({
  url: "/openapi.yaml",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  // The collapsed list of schemas is of no use before one has seen an operation.
  defaultModelsExpandDepth: 0,
  requestInterceptor: (request) => {
    if (new URL(request.url, location.href).pathname.endsWith(":watch")) request.userFetch = fetchAWhile;
    return request;
  },
});
