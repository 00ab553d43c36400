/* For http.c: requests and responses as NNG has them. */
#ifndef PARLEY_CONTROL_HTTP_MESSAGE_H
#define PARLEY_CONTROL_HTTP_MESSAGE_H

#include <nng/nng.h>
#include <nng/supplemental/http/http.h>

#include "control/http.h"

/* Takes NNG's words apart; @path is for the request's. False: @response says what is wrong with
 * them. */
bool http_message_read(nng_http_req *message, char path[HTTP_PATH_BYTES], struct http_request *ret,
                       struct http_response *response);

/* Return: 0, or NNG's error. */
int http_message_make(const struct http_response *response, nng_http_res **ret);

#endif
